"""What the release check runs, as plain data: rows, commands and the page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from packaging.requirements import Requirement

PYTHONS = ('3.10', '3.11', '3.12', '3.13')
FRAMEWORKS = ('mmselfsup', 'mmpretrain')
#: Distributions of mmselfsup, in whose place MMPretrain is installed.
MMSELFSUP = ('mmselfsup', 'mmcls')
#: Distributions whose versions a row names.
NAMED = (
    *('torch', 'torchvision', 'numpy', 'mmengine', 'mmcv-lite'),
    *('mmselfsup', 'mmcls', 'mmpretrain', 'opencv-python', 'scikit-learn'),
)
COLUMNS = ('install', 'check', 'extras', 'import', 'doctor', 'train', 'embed')
_WARNING = re.compile(r'\b\w*Warning: .*')


class Row(NamedTuple):
    """One environment.

    Attributes:
        python: Such as ``'3.12'``.
        framework: ``'mmselfsup'`` or ``'mmpretrain'``.
        versions: ``'newest'`` or ``'lowest'`` that the requirements admit.
    """

    python: str
    framework: str
    versions: str

    @property
    def name(self) -> str:
        """The row as one word, ``3.12/mmselfsup/newest``."""
        return '/'.join(self)


def plan(pythons: Sequence[str]) -> list[Row]:
    """All rows.

    Args:
        pythons: Those that are there, such as ``['3.10', '3.12']``.

    Returns:
        Every Python with each framework and the newest requirements, and the
        oldest Python with mmselfsup and the lowest ones: newer Pythons have
        no wheels of packages that old.
    """
    rows = [Row(p, f, 'newest') for p in pythons for f in FRAMEWORKS]
    oldest = min(pythons, key=lambda p: [int(n) for n in p.split('.')])
    return [*rows, Row(oldest, 'mmselfsup', 'lowest')]


def plain_requirements(lines: Iterable[str]) -> list[Requirement]:
    """The requirements of a wheel that belong to no extra.

    Args:
        lines: Its ``Requires-Dist``.
    """
    found = [Requirement(line) for line in lines]
    return [r for r in found if 'extra ==' not in str(r.marker or '')]


def lowest(requirements: Iterable[Requirement]) -> list[str]:
    """Constraints that leave only the lowest version of every requirement.

    Args:
        requirements: Each with ``>=`` or ``==``.

    Returns:
        Lines of a constraints file, ``torch==2.4``.

    Raises:
        ValueError: If a requirement has no lower bound: then nobody knows
            with what it works.
    """
    lines = []
    for requirement in requirements:
        bounds = [
            s.version for s in requirement.specifier if s.operator in '>==='
        ]
        if not bounds:
            raise ValueError(
                f'expected a lower bound of {requirement.name} in setup.py '
                f'(>= or ==), got {str(requirement)!r}'
            )
        marker = f'; {requirement.marker}' if requirement.marker else ''
        lines.append(f'{requirement.name}=={bounds[0]}{marker}')
    return lines


def installs(
    row: Row, wheel: str, requirements: Iterable[Requirement], constraints: str
) -> list[list[str]]:
    """The arguments of pip, one list per call.

    Args:
        row: What to install.
        wheel: Path of the wheel.
        requirements: Of the wheel, without extras.
        constraints: Path of the file of the lowest versions.

    Returns:
        ``[['install', ...], ...]``. MMPretrain comes in place of mmselfsup as
        docs/install.md says, and the wheel without what it asks for.
    """
    pins = ['-c', constraints] if row.versions == 'lowest' else []
    if row.framework == 'mmselfsup':
        return [['install', *pins, wheel]]
    others = [str(r) for r in requirements if r.name not in MMSELFSUP]
    return [
        ['install', *pins, 'mmpretrain', *others],
        ['install', '--no-deps', wheel],
    ]


def warnings_in(text: str) -> list[str]:
    """Lines of a program's output that are warnings of Python, each once."""
    return list(dict.fromkeys(_WARNING.findall(text)))


def render(report: Mapping[str, Any]) -> str:
    """The report as a Markdown page.

    Args:
        report: ``version``, ``machine``, ``date``, ``skipped`` (a reason per
            Python), ``rows`` as
            :func:`check.run_row` answers them.
    """
    head = ['Python', 'framework', 'requirements', 'torch', 'result']
    seconds = [f'{column}, s' for column in COLUMNS]
    named = dict.fromkeys(row['commit'][:10] for row in report['rows'])
    commits = f'commit {", ".join(named)}'
    lines = [
        f'# What {report["version"]} was tested on',
        '',
        'The wheel was built from a commit, installed from its file into a '
        'fresh virtual environment away from the checkout, and',
        'used: `pip check`, resolving `ahpcl[all]`, `import ahpcl`, `ahpcl '
        'doctor`, `ahpcl train` for one epoch of 200 digits, `ahpcl embed`.',
        'A row passes if every step succeeds and none of the last four prints '
        'a warning. "Lowest" is the lowest version of every',
        'requirement that `setup.py` admits. A dash is a step that the row '
        'does not have.',
        '',
        f'{report["date"]}, {commits}, {report["machine"]}. pip did '
        'not compile to bytecode but where said, and the machine did other '
        'work meanwhile.',
        '`make release-check` measures it again.',
        '',
        '| ' + ' | '.join([*head, *seconds]) + ' |',
        '|' + '---|' * (len(head) + len(seconds)),
    ]
    notes = [
        f'- Python {python} was skipped: {reason}'
        for python, reason in report['skipped'].items()
    ]
    for row in sorted(report['rows'], key=_order):
        cells = [
            *(row['python'], row['framework'], row['versions']),
            *(row['found'].get('torch', '-'), row['result']),
            *(_seconds(row['seconds'].get(column)) for column in COLUMNS),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
        name = f'{row["python"]}, {row["framework"]}, {row["versions"]}'
        notes += [f'- {name}: {text}' for text in row['notes']]
    ran = {Row(*(row[key] for key in Row._fields)) for row in report['rows']}
    pythons = [p for p in PYTHONS if p not in report['skipped']]
    notes += [
        f'- {", ".join(row)}: **not run**'
        for row in plan(pythons)
        if row not in ran
    ]
    lines += ['', *notes, ''] if notes else ['']
    lines += ['Versions:', '']
    for row in sorted(report['rows'], key=_order):
        found = ', '.join(f'{k} {v}' for k, v in row['found'].items())
        lines.append(
            f'- {row["python"]}, {row["framework"]}, {row["versions"]}: '
            f'{found or "nothing was installed"}'
        )
    return '\n'.join(lines) + '\n'


def _order(row: Mapping[str, Any]) -> tuple:
    version = [int(n) for n in row['python'].split('.')]
    return (row['versions'] == 'lowest', row['framework'], version)


def _seconds(value: float | None) -> str:
    return '-' if value is None else f'{value:.0f}'
