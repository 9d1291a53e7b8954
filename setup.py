"""Installs ``ahpcl``; ``pip install -e .`` is all there is to do."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools')  # to ahpcl/.mim, where the ecosystem looks


def version() -> str:
    """Reads the version without importing the package."""
    text = (HERE / 'projects/ahpcl/__init__.py').read_text('utf-8')
    found = re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)
    if found is None:
        raise ValueError("expected __version__ = '...' in ahpcl/__init__.py")
    return found[1]


def long_description() -> str:
    """The README, where there is one."""
    readme = HERE / 'README.md'
    return readme.read_text('utf-8') if readme.is_file() else ''


class BuildWithShipped(build_py):
    """Puts configs and tools into the package, as ``.mim``.

    An editable install gets links to the checkout's own instead, where the
    file system allows: with or without them, ``ahpcl::...`` resolves to the
    checkout.
    """

    def run(self) -> None:
        """Builds, then ships."""
        super().run()
        if getattr(self, 'editable_mode', False):
            self._link()
            return
        target = Path(self.build_lib) / 'ahpcl' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        for name in SHIPPED:
            if (HERE / name).is_dir():
                shutil.copytree(
                    HERE / name,
                    target / name,
                    ignore=shutil.ignore_patterns('__pycache__', '*.pyc'),
                )

    def _link(self) -> None:
        folder = HERE / 'projects/ahpcl/.mim'
        folder.mkdir(exist_ok=True)
        for name in SHIPPED:
            link = folder / name
            if link.is_symlink():
                link.unlink()
            try:
                link.symlink_to(os.path.relpath(HERE / name, folder))
            except OSError as error:
                self.warn(f'no link at {link}: {error}')

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Lists what was built, the shipped files included."""
        target = Path(self.build_lib) / 'ahpcl' / '.mim'
        shipped = [str(p) for p in target.rglob('*') if p.is_file()]
        return [*super().get_outputs(include_bytecode), *shipped]


INSTALL = [
    # Versions that mmselfsup accepts and that were run together. mmselfsup
    # names neither mmcv nor mmengine, and mmcls is a pre-release, which pip
    # takes only when the pin says so.
    'mmengine>=0.10.7,<0.11',
    'mmcv-lite>=2.0.1,<2.1',
    'mmcls==1.0.0rc6',
    'mmselfsup==1.0.0',
    'torch>=2.4',
    'torchvision>=0.19',
    'numpy>=1.24',
    'Pillow>=10',
    'opencv-python>=4.6.0.66',
    'scikit-learn>=1.3',
    # Hue, blur and rotation of views that are made on the device.
    'kornia>=0.7.4',
    # k-means on a CPU; there are wheels for this platform alone.
    'superkmeans>=0.2; platform_system == "Linux" and '
    'platform_machine == "x86_64"',
    'rich>=13',
    'tensorboard>=2.15',
]

FAISS = ['faiss-cpu>=1.8']
GPU = ['faiss-gpu-cu12>=1.14; platform_system == "Linux"', 'flash-kmeans>=0.3']
VIZ = ['matplotlib>=3.8', 'openTSNE>=1.0', 'umap-learn>=0.5.6']
# Tables for other programs, and encoders for other libraries.
EXPORT = [
    'pyarrow>=14',
    'safetensors>=0.4',
    'onnx>=1.16',
    'onnxscript>=0.3',
    'onnxruntime>=1.18',
]
TESTS = [
    *FAISS,
    *VIZ,
    *EXPORT,
    'playwright>=1.40',
    'timm>=1.0',
    'hypothesis>=6.90',
    'pytest>=8',
    'pytest-xdist>=3.5',
    'scipy>=1.11',
    'setuptools>=64',
    'wheel>=0.40',
]
DOCS = ['sphinx>=8', 'myst-parser>=4', 'furo>=2024.8']
DEV = ['mypy>=1.11', 'ruff>=0.6']

setup(
    name='ahpcl',
    version=version(),
    description=(
        'Adaptive hierarchical prototypical contrastive learning of image '
        'representations, on mmselfsup'
    ),
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    package_dir={'': 'projects'},
    packages=find_packages('projects'),
    package_data={'ahpcl.visualization': ['templates/*']},
    entry_points={'console_scripts': ['ahpcl = ahpcl.cli.main:main']},
    python_requires='>=3.10',
    install_requires=INSTALL,
    extras_require={
        'faiss': FAISS,
        'gpu': GPU,
        'viz': VIZ,
        'export': EXPORT,
        'tests': TESTS,
        'dev': DEV,
        'docs': DOCS,
        # Without `gpu`: faiss-cpu and faiss-gpu own one module.
        'all': sorted({*FAISS, *VIZ, *EXPORT, *TESTS, *DEV, *DOCS}),
    },
    cmdclass={'build_py': BuildWithShipped},
    zip_safe=False,
)
