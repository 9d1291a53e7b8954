"""What an install brings along, read from what setuptools builds."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import ahpcl
from ahpcl.utils.deprecation import REMOVAL

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / 'setup.py').is_file(), reason='needs a checkout'
)


@pytest.fixture(scope='module')
def built(tmp_path_factory) -> Path:
    """A copy of the checkout with its wheel, sdist and editable wheel."""
    pytest.importorskip('setuptools', minversion='70.1')
    copy = tmp_path_factory.mktemp('checkout') / 'repository'
    copy.mkdir()
    ignore = shutil.ignore_patterns('.mim', '*.egg-info')
    for name in ('projects', 'configs', 'tools'):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in (
        *('setup.py', 'pyproject.toml', 'MANIFEST.in', 'Makefile'),
        *('LICENSE', 'CITATION.cff'),
    ):
        shutil.copy(ROOT / name, copy)
    for command in ('sdist', 'bdist_wheel', 'editable_wheel'):
        folder = 'editable' if command == 'editable_wheel' else 'dist'
        done = subprocess.run(
            [sys.executable, 'setup.py', '-q', command, '-d', folder],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    return copy


@pytest.fixture(scope='module')
def wheel(built) -> zipfile.ZipFile:
    return zipfile.ZipFile(next((built / 'dist').glob('*.whl')))


@pytest.fixture(scope='module')
def requirements(wheel) -> list[Requirement]:
    name = next(n for n in wheel.namelist() if n.endswith('/METADATA'))
    message = email.message_from_bytes(wheel.read(name))
    return [Requirement(text) for text in message.get_all('Requires-Dist')]


def files(folder: Path, suffixes: tuple[str, ...]) -> set[str]:
    return {
        str(path.relative_to(folder.parent))
        for path in folder.rglob('*')
        if path.suffix in suffixes and '__pycache__' not in path.parts
    }


SHIPPED = files(ROOT / 'configs', ('.py', '.yml', '.json')) | files(
    ROOT / 'tools', ('.py', '.sh')
)


def test_the_licence_is_named_and_shipped(built, wheel):
    names = wheel.namelist()
    metadata = next(n for n in names if n.endswith('/METADATA'))
    message = email.message_from_bytes(wheel.read(metadata))
    assert message['License'] == 'Apache-2.0'
    text = (ROOT / 'LICENSE').read_bytes()
    shipped = next(n for n in names if n.endswith('LICENSE'))
    assert wheel.read(shipped) == text
    with tarfile.open(next((built / 'dist').glob('*.tar.gz'))) as archive:
        inside = {n.split('/', 1)[-1] for n in archive.getnames()}
    assert {'LICENSE', 'CITATION.cff'} <= inside


def test_the_wheel_ships_configs_and_tools(wheel):
    names = set(wheel.namelist())
    assert 'tools/train.py' in SHIPPED
    assert {f'ahpcl/.mim/{name}' for name in SHIPPED} <= names
    assert not [n for n in names if '__pycache__' in n or 'tests/' in n]
    record = next(n for n in names if n.endswith('/RECORD'))
    assert 'ahpcl/.mim/tools/train.py' in wheel.read(record).decode()


def test_the_wheel_holds_the_whole_package(wheel):
    package = {
        str(path.relative_to(ROOT / 'projects'))
        for ending in ('py', 'html', 'css', 'js')
        for path in (ROOT / 'projects/ahpcl').rglob(f'*.{ending}')
        if '.mim' not in path.parts
    }
    assert 'ahpcl/visualization/templates/report.html' in package
    assert package <= set(wheel.namelist())


def test_the_sdist_builds_the_same(built):
    archive = next((built / 'dist').glob('*.tar.gz'))
    with tarfile.open(archive) as tar:
        names = {name.partition('/')[2] for name in tar.getnames()}
    assert {'setup.py', 'pyproject.toml'} <= names
    page = 'projects/ahpcl/visualization/templates/report.html'
    assert page in names
    assert names >= SHIPPED


def test_an_editable_install_links_to_the_checkout(built):
    assert next((built / 'editable').glob('*editable*.whl'))
    mim = built / 'projects' / 'ahpcl' / '.mim'
    for name in ('configs', 'tools'):
        assert (mim / name).resolve() == (built / name).resolve()
        assert not os.path.isabs(os.readlink(mim / name))


def test_the_page_installs_the_same_beside_mmpretrain(requirements):
    """All that the wheel asks for but mmselfsup and its mmcls."""
    page = (ROOT / 'docs' / 'install.md').read_text('utf-8')
    (line,) = re.findall(r'pip install mmpretrain (.*\\\n.*)', page)
    named = {Requirement(text) for text in re.findall(r"'([^']+)'", line)}
    elsewhere = {'mmselfsup', 'mmcls', 'superkmeans'}
    plain = {r for r in requirements if 'extra ==' not in str(r.marker or '')}
    assert named == {r for r in plain if r.name not in elsewhere}


def test_an_installed_package_finds_its_configs(wheel, tmp_path):
    wheel.extractall(tmp_path)
    script = (
        'from ahpcl.api.choices import MODELS, _read\n'
        'for config, _ in MODELS.values(): _read(config).train_dataloader\n'
        'from ahpcl.compat.configs import config_root; print(config_root())'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script],
        env={**os.environ, 'PYTHONPATH': str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = (tmp_path / 'ahpcl/.mim/configs').resolve()
    assert Path(done.stdout.splitlines()[-1]) == expected
    assert (expected / '_base_').is_dir()


def test_the_wheel_brings_the_command(wheel):
    name = next(n for n in wheel.namelist() if n.endswith('entry_points.txt'))
    lines = wheel.read(name).decode().splitlines()
    place = lines.index('[console_scripts]')
    assert lines[place + 1] == 'ahpcl = ahpcl.cli.main:main'


def test_the_version_is_the_packages(wheel):
    name = next(n for n in wheel.namelist() if n.endswith('/METADATA'))
    message = email.message_from_bytes(wheel.read(name))
    assert message['Version'] == ahpcl.__version__


def test_every_place_names_one_version():
    text = (ROOT / 'CHANGELOG.md').read_text('utf-8')
    sections = re.findall(r'^## (.*)$', text, re.MULTILINE)
    assert sections[0] == '[Unreleased]'
    found = re.fullmatch(r'\[([\d.]+)\] - ([\d-]{10})', sections[1])
    citation = (ROOT / 'CITATION.cff').read_text('utf-8')
    assert f'\nversion: {found[1]}\n' in citation
    assert f'\ndate-released: {found[2]}\n' in citation
    # Between releases the version may be ahead, as in 0.3.0.dev0.
    assert Version(ahpcl.__version__) >= Version(found[1])
    tested = json.loads((ROOT / 'docs' / 'tested.json').read_text())
    assert tested['version'] == found[1]


def test_what_is_deprecated_goes_in_a_later_version():
    removed_in = re.search(r'in ([\d.]+) \(not before [\d-]{10}\)', REMOVAL)
    assert Version(removed_in[1]) > Version(ahpcl.__version__)
    for page in ('CHANGELOG.md', 'docs/migration.md'):
        assert REMOVAL in (ROOT / page).read_text('utf-8'), page


def named(requirements, extra=None) -> set[str]:
    return {
        r.name.lower()
        for r in requirements
        if (f'extra == "{extra}"' in str(r.marker) if extra else not r.marker)
    }


def test_a_plain_install_needs_no_gpu_no_compiler_no_mim(requirements):
    plain = named(requirements)
    assert {'torch', 'mmcv-lite', 'mmselfsup', 'mmcls'} <= plain
    assert not plain & {'mmcv', 'openmim', 'faiss-cpu', 'faiss-gpu'}
    by_name = {r.name: r for r in requirements}
    assert by_name['mmcls'].specifier.prereleases  # else pip skips it
    upper = [s for s in by_name['numpy'].specifier if '<' in s.operator]
    assert not upper


def test_extras(requirements):
    extras = {
        extra: named(requirements, extra)
        for extra in ('faiss', 'gpu', 'viz', 'export', 'tests', 'dev', 'all')
    }
    assert all(extras.values())
    assert extras['faiss'] == {'faiss-cpu'}
    assert any(name.startswith('faiss-gpu') for name in extras['gpu'])
    for extra, names in extras.items():
        owners = {n for n in names if n.startswith('faiss-')}
        assert len(owners) <= 1, extra
    rest = set().union(*(v for k, v in extras.items() if k != 'gpu'))
    assert extras['all'] == rest
    assert not extras['all'] & extras['gpu']


def test_this_install_meets_what_is_asked_for(requirements):
    from importlib import metadata

    for requirement in requirements:
        if requirement.marker is None:
            try:
                version = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                if requirement.name in ('mmcv-lite', 'opencv-python'):
                    continue  # replaced by a larger sibling
                raise
            assert requirement.specifier.contains(version, prereleases=True)


def test_make_and_ci_agree():
    makefile = (ROOT / 'Makefile').read_text()
    targets = set(re.findall(r'^([a-z-]+):', makefile, re.MULTILINE))
    assert {'check', 'test', 'test-fast', 'demo', 'clean'} <= targets
    script = ROOT / '.ci' / 'run'
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert 'set -euo pipefail' in text
    assert re.search(r"install --quiet -e '\.\[dev,tests[a-z,]*\]'", text)
    for command in ('check', 'test', 'campaigns'):
        assert f'make {command} <' in text
        assert command in targets
    assert subprocess.run(['bash', '-n', script]).returncode == 0
