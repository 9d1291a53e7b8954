"""Reports what is installed, what was patched, and what is missing.

``python -m ahpcl.doctor`` exits with 0 where training can run, with 1 where
it can't; ``--json`` prints the same for machines. ``--data FOLDER`` looks at a
folder of images instead: what is in it, and what will be done with each kind.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

REQUIRED = (
    'torch',
    'torchvision',
    'mmengine',
    'mmcv-lite',
    'numpy',
    'Pillow',
    'opencv-python',
    'scikit-learn',
    'kornia',
    'tensorboard',
)
# The framework is one of these; where both are there, it is the first.
_MMSELFSUP = ('mmcls', 'mmselfsup')
_MMPRETRAIN = ('mmpretrain',)
# Distribution, what it brings, and the command for it.
OPTIONAL = (
    ('faiss-cpu', 'k-means backend', 'pip install "ahpcl[faiss]"'),
    ('superkmeans', 'k-means on a CPU', 'pip install superkmeans'),
    ('matplotlib', 'figures', 'pip install "ahpcl[viz]"'),
    ('openTSNE', 't-SNE', 'pip install "ahpcl[viz]"'),
    ('umap-learn', 'UMAP', 'pip install "ahpcl[viz]"'),
    ('pyarrow', 'export as Parquet', 'pip install "ahpcl[export]"'),
    ('flash-kmeans', 'k-means on a GPU', 'pip install "ahpcl[gpu]"'),
)
_ALTERNATIVES = {
    'mmcv-lite': ('mmcv',),
    'opencv-python': (
        'opencv-python-headless',
        'opencv-contrib-python',
        'opencv-contrib-python-headless',
    ),
    'faiss-cpu': ('faiss-gpu-cu12', 'faiss-gpu', 'faiss-gpu-cuvs'),
}
NOT_VERIFIED = (
    'several GPUs (NCCL)',
    'whole runs of HCSC, SimCLR, SwAV, DeepCluster, ODC and SeLa on CUDA',
    'clusters that are classified (ClusterClassifierLoss) on CUDA',
    'compiled encoders on CUDA',
    'devices other than CUDA',
    'faiss-gpu',
)


def version_of(name: str) -> str | None:
    """Returns the version of a distribution or of one that replaces it.

    Args:
        name: Name of the distribution.

    Returns:
        ``2.0.1``, or ``2.0.1 (mmcv)`` for a replacement, or None.
    """
    for candidate in (name, *_ALTERNATIVES.get(name, ())):
        try:
            version = metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
        return version if candidate == name else f'{version} ({candidate})'
    return None


def required() -> tuple[str, ...]:
    """Names the distributions that training needs here.

    Returns:
        Those of :data:`REQUIRED`, and of the framework: MMPretrain's where it
        is installed and mmselfsup is not, else mmselfsup's.
    """
    is_successor = (
        version_of('mmselfsup') is None
        and version_of('mmpretrain') is not None
    )
    return (*REQUIRED, *(_MMPRETRAIN if is_successor else _MMSELFSUP))


def _compat() -> tuple[list[dict[str, Any]], list[str]]:
    """Return the fixes and the warnings of :mod:`ahpcl.compat`."""
    from ahpcl import compat
    from ahpcl.compat.packages import duplicate_mmcv

    compat.apply_all()
    problem = duplicate_mmcv()
    records = [vars(record) for record in compat.status()]
    return records, [problem] if problem else []


def _accelerators() -> list[dict[str, Any]]:
    """Return the CUDA devices that torch sees."""
    import torch

    if not torch.cuda.is_available():
        return []
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                'name': properties.name,
                'memory_gib': round(properties.total_memory / 2**30, 1),
                'bf16': properties.major >= 8,
            }
        )
    return devices


def _import_problems() -> list[str]:
    """Lists which modules can't be imported, and why."""
    problems = []
    framework = [f'{n}.models' for n in required() if n not in REQUIRED]
    for module in ('ahpcl', *framework, 'sklearn'):
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a broken install raises
            kind = type(error).__name__
            problems.append(f'import {module} fails: {kind}: {error}')
    return problems


def examine() -> dict[str, Any]:
    """Looks at the installation.

    Returns:
        Versions (None for what is missing), fixes, accelerators, backends
        (None, or why not), warnings, problems with their remedy, and whether
        training ``can_train``.
    """
    versions = {name: version_of(name) for name in required()}
    problems = [
        f'{name} is missing: pip install ahpcl (or pip install -e .)'
        for name, version in versions.items()
        if version is None
    ]
    report: dict[str, Any] = {
        'python': platform.python_version(),
        'ahpcl': None,
        'versions': versions,
        'optional': {name: version_of(name) for name, _, _ in OPTIONAL},
        'accelerators': [],
        'backends': {},
        'fixes': [],
        'warnings': [],
        'not_verified_on_a_gpu': list(NOT_VERIFIED),
    }
    if not problems:
        problems = _import_problems()
    if not problems:
        from ahpcl import __version__
        from ahpcl.core.clustering.search import available_backends

        report['ahpcl'] = __version__
        report['fixes'], report['warnings'] = _compat()
        report['accelerators'] = _accelerators()
        report['backends'] = available_backends()
    report['problems'] = problems
    report['can_train'] = not problems
    return report


def _lines(report: dict[str, Any]) -> list[str]:
    """Return the report for people."""
    lines = [f'ahpcl {report["ahpcl"]} on Python {report["python"]}', '']
    for name, version in report['versions'].items():
        lines.append(f'  {name:15} {version or "missing"}')
    for name, use, command in OPTIONAL:
        version = report['optional'][name]
        missing = f'not installed ({use}): {command}'
        lines.append(f'  {name:15} {version or missing}')

    lines += ['', 'Accelerators']
    for index, device in enumerate(report['accelerators']):
        bf16 = 'bfloat16' if device['bf16'] else 'no bfloat16'
        lines.append(
            f'  cuda:{index} {device["name"]}, {device["memory_gib"]} GiB, '
            f'{bf16}'
        )
    if not report['accelerators']:
        lines.append('  none: training runs on the CPU')

    lines += ['', 'Clustering backends']
    for name, reason in report['backends'].items():
        lines.append(f'  {name:15} {reason or "usable"}')

    applied = [fix for fix in report['fixes'] if fix['applied']]
    lines += ['', 'Patches of mmselfsup, mmengine and mmcv in this process']
    for fix in applied:
        lines.append(f'  {fix["name"]}')
        lines.append(f'      without it: {fix["symptom"]}')
        lines.append(f'      upstream: {fix["upstream"]}')
    for fix in report['fixes']:
        if not fix['applied']:
            lines.append(f'  {fix["name"]}: off, {fix["reason"]}')

    lines += ['', 'Not verified on a GPU']
    lines += [f'  {name}' for name in report['not_verified_on_a_gpu']]
    if report['warnings']:
        lines += ['', 'Warnings', *(f'  {w}' for w in report['warnings'])]
    if report['problems']:
        lines += ['', 'Problems', *(f'  {p}' for p in report['problems'])]
    verdict = 'can run' if report['can_train'] else 'can NOT run'
    return [*lines, '', f'Training {verdict} here.']


def _say_folder(folder: list[str], as_json: bool) -> int:
    """Print what is in a folder of images; 0 if it can be trained on."""
    from ahpcl.datasets.folder_report import describe_folder, examine_folder

    report = examine_folder(folder)
    text = json.dumps(report, indent=2) if as_json else None
    text = text or '\n'.join(describe_folder(report))
    # Names that are no UTF-8 can't be printed as they are.
    sys.stdout.write(f'{text.encode("utf-8", "backslashreplace").decode()}\n')
    return 1 if report['problems'] else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report about the installation, or about a folder.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        0 where training can run, or start on the folder, else 1.
    """
    parser = argparse.ArgumentParser(
        prog='python -m ahpcl.doctor', description=__doc__.split('\n')[0]
    )
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument(
        '--data',
        nargs='+',
        metavar='FOLDER',
        help='look at a folder of images, a text file of their paths, or '
        'several',
    )
    args = parser.parse_args(argv)
    if args.data is not None:
        return _say_folder(args.data, args.json)
    report = examine()
    text = json.dumps(report, indent=2) if args.json else None
    sys.stdout.write((text or '\n'.join(_lines(report))) + '\n')
    return 0 if report['can_train'] else 1


if __name__ == '__main__':
    sys.exit(main())
