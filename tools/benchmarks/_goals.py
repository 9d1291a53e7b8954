"""What the measurements are to reach, and what they reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from _tables import markdown

Report = Mapping[str, Any]
_HOST = "mmselfsup's MoCo"
_CONFIGS = dict(
    digits='`ahpcl_digits.py`',
    tin100='`ahpcl_tin100_cpu.py`',
    cifar10='`ahpcl_cifar10.py`',
)
_EPOCHS = 10
_CONFIGURED = 'as configured'
_COLUMNS = dict(
    what=('', ''),
    against=('against', ''),
    goal=('goal', ''),
    measured=('measured', ''),
)


class Goal(NamedTuple):
    """A number that is to be reached.

    Args:
        report: Name of the measurement.
        what: Which number.
        against: What it is compared with.
        limit: Where it is reached.
        at_most: Whether it is reached below the limit, not above.
        unit: After the numbers.
        value: The number of a report; None where it has none.
    """

    report: str
    what: str
    against: str
    limit: float
    at_most: bool
    unit: str
    value: Callable[[Report], float | None]


def goals(read: Callable[[str], Report | None]) -> str:
    """The table of all goals.

    Args:
        read: From the name of a measurement to it, None where it is missing.
    """
    rows = []
    for goal in _GOALS:
        report = read(goal.report)
        value = None if report is None else goal.value(report)
        sign = 'at most' if goal.at_most else 'at least'
        rows.append(
            dict(
                what=goal.what,
                against=goal.against,
                goal=f'{sign} {goal.limit:g}{goal.unit}',
                measured=_verdict(goal, value),
            )
        )
    return markdown(rows, _COLUMNS)


def _verdict(goal: Goal, value: float | None) -> str:
    if value is None:
        return '**not measured**'
    reached = (value <= goal.limit) if goal.at_most else (value >= goal.limit)
    kind = 'reached' if reached else '**not reached**'
    return f'{value:.2f}{goal.unit}: {kind}'


def _row(report: Report, name: str) -> Report:
    return next((r for r in report['rows'] if r['name'] == name), {})


def _share(report: Report, key: str) -> float | None:
    """A share of the epoch as it is configured, in percent."""
    features = report.get('features', 'extract')
    found = report['estep_share'].get(f'{_CONFIGURED}, {features}')
    if isinstance(found, float):  # as it was written at first
        return found if key == 'share' else None
    return None if found is None else found[key]


def _step(report: Report) -> float | None:
    return _row(report, _CONFIGURED).get('ratio')


def _epoch(report: Report) -> float | None:
    """Times as fast as an epoch that has no E-step."""
    step, share = _step(report), _share(report, 'share')
    if step is None or share is None:
        return None
    return step * (1 - share / 100)


def _estep(name: str, key: str) -> Callable[[Report], float | None]:
    return lambda report: _row(report, name).get(key)


def _objective(report: Report) -> float | None:
    """In percent above the recipe's; None of fewer epochs than are asked."""
    if report['settings']['epochs'] < _EPOCHS:
        return None
    return _row(report, _CONFIGURED).get('worst')


def _worst_of_best(key: str) -> Callable[[Report], float | None]:
    """Of the best engine at every K the lowest."""

    def value(report: Report) -> float | None:
        best: dict[int, float] = {}
        for row in report['rows']:
            if row['name'] != 'recipe' and row.get(key) is not None:
                known = best.get(row['clusters'], row[key])
                best[row['clusters']] = max(known, row[key])
        return min(best.values(), default=None)

    return value


def _best_step(report: Report) -> float | None:
    return max(
        (r['ratio'] for r in report['rows'] if 'ratio' in r), default=None
    )


def _goals() -> list[Goal]:
    found = []
    for key, config in _CONFIGS.items():
        report = f'throughput_{key}'
        found += [
            Goal(
                report,
                f'epoch (step and E-step), {config}',
                f'{_HOST}, no prototypes',
                *(1.3, False, ' x', _epoch),
            ),
            Goal(
                report,
                f'training step, {config}',
                f'{_HOST}, no prototypes',
                *(1.6, False, ' x', _step),
            ),
            Goal(
                report,
                f'E-step, share of the epoch, {config}',
                *('', 12, True, ' %', lambda r: _share(r, 'share')),
            ),
            Goal(
                report,
                f'clustering, share of the epoch, {config}',
                *('', 3, True, ' %', lambda r: _share(r, 'clustering')),
            ),
            Goal(
                report,
                f'split batch norm, share of the step, {config}',
                *('', 10, True, ' %', lambda r: r.get('norm_share')),
            ),
        ]
    recipe = 'PCL recipe, faiss-cpu'
    clustering = 'gpu_check/clustering'
    return [
        *found,
        Goal(
            'estep',
            'clustering, CPU, as configured',
            *(recipe, 15, False, ' x', _estep(_CONFIGURED, 'ratio')),
        ),
        Goal(
            'estep',
            'clustering, CPU, cold start',
            *(recipe, 3, False, ' x', _estep('cold, one start', 'ratio')),
        ),
        Goal(
            'estep',
            f'objective as configured, worst rung of {_EPOCHS} epochs',
            *(recipe, 0.5, True, ' %', _objective),
        ),
        Goal(
            clustering,
            'clustering, GPU, steady state, worst K',
            'PCL recipe, brute force in float32',
            *(30, False, ' x', _worst_of_best('ratio')),
        ),
        Goal(
            clustering,
            'assignment, GPU, worst K',
            'bf16 matmul rate',
            *(0.5, False, ' of it', _worst_of_best('rate_share')),
        ),
        Goal(
            'gpu_check/step',
            'training step, GPU',
            "mmselfsup's pipeline and eager step",
            *(3, False, ' x', _best_step),
        ),
    ]


_GOALS = _goals()
