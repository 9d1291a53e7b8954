"""Builds the wheel of a commit, and reads what it asks for."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from _plan import plain_requirements
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def build(folder: Path, commit: str) -> Path:
    """Builds wheel and sdist of a commit; returns the wheel.

    Raises:
        RuntimeError: If the sdist builds another wheel.
    """
    source = folder / 'source'
    source.mkdir(parents=True)
    archive = folder / 'commit.tar'
    subprocess.run(
        ['git', 'archive', '-o', str(archive), commit], cwd=ROOT, check=True
    )
    shutil.unpack_archive(archive, source)
    pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps']
    subprocess.run([*pip, '-w', str(folder / 'dist'), str(source)], check=True)
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'sdist', '-d', str(folder)],
        cwd=source,
        check=True,
    )
    (sdist,) = folder.glob('*.tar.gz')
    again = folder / 'from_sdist'
    subprocess.run([*pip, '-w', str(again), str(sdist)], check=True)
    (wheel,) = (folder / 'dist').glob('*.whl')
    differing = dict(
        contents(wheel).items() ^ contents(again / wheel.name).items()
    )
    if differing:
        raise RuntimeError(
            f'expected {sdist.name} to build the wheel of the commit, but '
            f'these files differ: {", ".join(sorted(differing))}'
        )
    return wheel


def contents(wheel: Path) -> dict[str, int]:
    """The checksums of the files of a wheel, but of its list of them."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            info.filename: info.CRC
            for info in archive.infolist()
            if not info.filename.endswith('/RECORD')
        }


def required(wheel: Path) -> tuple[str, list[Requirement]]:
    """Version and plain requirements of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith('/METADATA'))
        message = email.message_from_bytes(archive.read(name))
    lines = message.get_all('Requires-Dist')
    return message['Version'], plain_requirements(lines)
