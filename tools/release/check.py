#!/usr/bin/env python
"""Use the wheel as a release: every Python, both frameworks, old and new.

python tools/release/check.py                       # all rows, an hour
python tools/release/check.py 3.12/mmselfsup/newest # one of them
python tools/release/check.py --list

Builds the wheel and the sdist of the commit (what is not committed is left
out), compares the wheel with the one that the sdist builds, installs it into
a fresh virtual environment per row and removes that afterwards. A row takes
some 6 GB of disk where torch is a CUDA build. The results are kept in
docs/tested.json, row by row, and docs/tested.md is made of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from _build import ROOT, build, required
from _plan import (
    NAMED,
    PYTHONS,
    Row,
    installs,
    lowest,
    plan,
    render,
    warnings_in,
)

RESULTS = ROOT / 'docs' / 'tested.json'
_LIMIT = 1800  # seconds of a step
_DIGITS = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_digits
for number, image in enumerate(load_digits().images[:200]):
    pixels = (image * 15.9).astype(np.uint8)
    Image.fromarray(pixels).save(Path(sys.argv[1], f'{number}.png'))
"""
_WHERE = 'import ahpcl; print(ahpcl.__version__, ahpcl.__file__)'
_EMBEDDED = (
    "import numpy as np; found = np.load('features.npz'); "
    'shapes = [found[k].shape for k in found if found[k].ndim == 2]; '
    'assert shapes and shapes[0][0] == 200, shapes'
)


def find_python(version: str) -> tuple[str | None, str]:
    """Finds an interpreter.

    Args:
        version: Such as ``'3.12'``.

    Returns:
        Its path and an empty text, or None and why there is none.
    """
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'))
    candidates = [
        *sorted(map(str, pyenv.glob(f'versions/{version}.*/bin/python'))),
        *filter(None, [shutil.which(f'python{version}')]),
    ]
    program = 'import sys, venv; print("%d.%d" % sys.version_info[:2])'
    for path in candidates:
        done = subprocess.run(
            [path, '-c', program], capture_output=True, text=True
        )
        if done.returncode == 0 and done.stdout.strip() == version:
            return path, ''
    if candidates:
        return None, f'{", ".join(candidates)} does not run'
    return None, f'no python{version} on the PATH nor in {pyenv}'


class Steps:
    """Runs commands in one folder, and keeps seconds and what was said.

    Args:
        folder: Where the commands run, away from the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        kept = ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'PYTHONWARNINGS')
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in kept},
            'PYTHONNOUSERSITE': '1',
            'CUDA_VISIBLE_DEVICES': '',
            'PIP_NO_INPUT': '1',
            'PIP_DISABLE_PIP_VERSION_CHECK': '1',
        }

    def run(self, step: str, *command: Any, watch: bool = False) -> str:
        """Runs a command; returns what it printed.

        Args:
            step: Column of its seconds; several commands add up.
            *command: Program and arguments.
            watch: Whether it may not warn.

        Raises:
            RuntimeError: If it fails, with its last lines.
        """
        begin = time.monotonic()
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT,
        )
        took = time.monotonic() - begin
        self.seconds[step] = round(self.seconds.get(step, 0) + took, 1)
        if watch:
            self.warnings += warnings_in(done.stdout)
        if done.returncode:
            last = [line for line in done.stdout.splitlines() if line.strip()]
            errors = [line for line in last if line.startswith('ERROR')]
            said = '; '.join((errors or last)[-2:])
            raise RuntimeError(f'{step} failed: {said[-600:]}')
        return done.stdout


def run_row(
    row: Row, python: str, wheel: Path, requirements: list, folder: Path
) -> dict[str, Any]:
    """Installs and uses the wheel in one environment.

    Args:
        row: Which one.
        python: Interpreter.
        wheel: Path of the wheel.
        requirements: Of the wheel, without extras.
        folder: Is made, and removed at the end.

    Returns:
        The row's part of the report.
    """
    folder.mkdir(parents=True)
    steps = Steps(folder)
    bin_folder = folder / 'env' / 'bin'
    constraints = folder / 'lowest.txt'
    constraints.write_text('\n'.join(lowest(requirements)) + '\n')
    notes: list[str] = []
    found: dict[str, str] = {}
    try:
        steps.run('install', python, '-m', 'venv', folder / 'env')
        pip = bin_folder / 'pip'
        arguments = installs(row, str(wheel), requirements, str(constraints))
        for call in arguments:
            # Bytecode of packages this large takes longer than the rest.
            name, *rest = call
            steps.run('install', pip, '-q', name, '--no-compile', *rest)
        _compile(steps, bin_folder / 'python', row.framework)
        found = _versions(steps, bin_folder / 'python')
        if row.framework == 'mmselfsup':
            steps.run('check', pip, 'check')
            if row.versions == 'newest':
                extra = f'{wheel}[all]'
                steps.run('extras', pip, 'install', '-q', '--dry-run', extra)
        use(steps, bin_folder, required(wheel)[0])
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        notes.append(str(error).replace(str(folder), '.'))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    notes += dict.fromkeys(steps.warnings)
    return {
        **row._asdict(),
        'result': 'FAIL' if notes else 'pass',
        'seconds': steps.seconds,
        'found': found,
        'notes': notes,
    }


def use(steps: Steps, bin_folder: Path, version: str) -> None:
    """Uses an installed package as its user does.

    Raises:
        RuntimeError: If a command fails, or another package was imported.
    """
    python, ahpcl = bin_folder / 'python', bin_folder / 'ahpcl'
    where = steps.run('import', python, '-c', _WHERE, watch=True)
    *_, line = where.splitlines()
    if not line.startswith(f'{version} {bin_folder.parent}'):
        raise RuntimeError(f'expected {version} of the wheel, got {line}')
    steps.run('doctor', ahpcl, 'doctor', watch=True)
    (steps.folder / 'digits').mkdir()
    steps.run('digits', python, '-c', _DIGITS, 'digits')
    run = ('digits', '--out', 'run', '--epochs', '1')
    steps.run('train', ahpcl, 'train', *run, watch=True)
    embed = ('run', 'digits', '--out', 'features.npz')
    steps.run('embed', ahpcl, 'embed', *embed, watch=True)
    steps.run('digits', python, '-c', _EMBEDDED)


def _compile(steps: Steps, python: Path, framework: str) -> None:
    """Compiles the framework as pip does, without its syntax warnings."""
    where = (
        f'import importlib.util as u; print(u.find_spec({framework!r}).origin)'
    )
    package = Path(steps.run('install', python, '-c', where).strip()).parent
    compiling = ('-W', 'ignore', '-m', 'compileall', '-q', package)
    steps.run('install', python, *compiling)


def _versions(steps: Steps, python: Path) -> dict[str, str]:
    listed = json.loads(
        steps.run('list', python, '-m', 'pip', 'list', '--format', 'json')
    )
    versions = {e['name'].lower(): e['version'] for e in listed}
    return {name: versions[name] for name in NAMED if name in versions}


def merged(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """A report with the rows of an earlier one of the same version."""
    if before.get('version') != now['version']:
        return dict(now)
    key = ('python', 'framework', 'versions')
    fresh = {tuple(row[k] for k in key) for row in now['rows']}
    kept = [
        row
        for row in before['rows']
        if tuple(row[k] for k in key) not in fresh
    ]
    return {**now, 'rows': [*kept, *now['rows']]}


def save(report: Mapping[str, Any], path: Path) -> None:
    """Writes the JSON and the page beside it."""
    before = json.loads(path.read_text()) if path.is_file() else {}
    whole = merged(before, report)
    path.write_text(json.dumps(whole, indent=1) + '\n')
    path.with_suffix('.md').write_text(render(whole))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the check; 0 if every row that ran passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('rows', nargs='*', help='names of rows; all if none')
    parser.add_argument('--list', action='store_true', help='list the rows')
    parser.add_argument(
        '--folder', type=Path, help='where environments are made'
    )
    parser.add_argument('--json', type=Path, default=RESULTS, dest='path')
    args = parser.parse_args(argv)
    pythons = {version: find_python(version) for version in PYTHONS}
    skipped = {v: why for v, (path, why) in pythons.items() if path is None}
    for version, why in skipped.items():
        print(f'skipped: Python {version}: {why}')
    there = [v for v, (path, _) in pythons.items() if path is not None]
    if not there:
        parser.error('expected a Python of ' + ', '.join(PYTHONS))
    rows = {row.name: row for row in plan(there)}
    unknown = set(args.rows) - set(rows)
    if unknown:
        parser.error(f'expected rows of {", ".join(rows)}, got {unknown}')
    if args.list:
        print('\n'.join(rows))
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        commit = _commit()
        wheel = build(folder / 'built', commit)
        version, requirements = required(wheel)
        report = {
            'version': version,
            'date': datetime.now(timezone.utc).date().isoformat(),
            'machine': f'{platform.system()} {platform.machine()}, CPU',
            'skipped': skipped,
            'rows': [],
        }
        for name in args.rows or rows:
            row = rows[name]
            python = pythons[row.python][0]
            assert python is not None
            place = folder / name.replace('/', '_')
            found = run_row(row, python, wheel, requirements, place)
            found['commit'] = commit
            seconds = ', '.join(
                f'{k} {v}' for k, v in found['seconds'].items()
            )
            print(f'{name}: {found["result"]} ({seconds})', flush=True)
            for note in found['notes']:
                print(f'  {note}', flush=True)
            report['rows'].append(found)
            save(report, args.path)
    return int(any(row['result'] != 'pass' for row in report['rows']))


def _commit() -> str:
    done = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip()


if __name__ == '__main__':
    sys.exit(main())
