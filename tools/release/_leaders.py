"""Which method leads a scale of the experiments, by the ledger alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import _experiments  # noqa: F401  # isort: skip
from _intervals import Interval, holm, interval, p_value, paired
from _plan import Plan
from _question_tables import select

#: Configs that look at the classes, or know how many there are.
LABELLED = (
    *('oracle*', 'no_own', 'true_purity_*'),
    *('fixed_classes', 'ladder_with_classes'),
)
#: Configs that learn nothing.
UNLEARNT = ('untrained', 'pixels')
#: With a single seed there is no interval, and nothing leads.
MIN_SEEDS = 2


@dataclass(frozen=True)
class Method:
    """The rows of one config on one part.

    Attributes:
        variant: Its name in the plan.
        runs: Entries of the ledger by seed.
    """

    variant: str
    runs: Mapping[int, Mapping[str, Any]]

    @property
    def config(self) -> str:
        """Name of its config, without options."""
        return next(iter(self.runs.values()))['config']

    @property
    def needs_labels(self) -> bool:
        """Whether it looks at classes, or at their number."""
        return any(fnmatchcase(self.config, name) for name in LABELLED)

    @property
    def learns(self) -> bool:
        """Whether anything was trained."""
        return self.config not in UNLEARNT

    def values(self, metric: str) -> dict[int, float]:
        """A metric by seed, where it was measured."""
        return {
            seed: run['metrics'][metric]
            for seed, run in sorted(self.runs.items())
            if metric in run['metrics']
        }

    def interval(self, metric: str) -> Interval:
        """Mean over seeds with its interval."""
        return interval(list(self.values(metric).values()))


@dataclass(frozen=True)
class Rival:
    """A method that has as many rights to lead, beside the one that does.

    Attributes:
        method: Its rows.
        lead: How far it is behind the leader, paired by seed; None where
            they share no seed.
        p: p-value of it, by Holm's correction for all rivals; NaN without a
            test.
        overlaps: Whether the two intervals overlap.
    """

    method: Method
    lead: Interval | None
    p: float
    overlaps: bool

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p < 0.05


@dataclass(frozen=True)
class Standing:
    """Who leads a scale.

    Attributes:
        scale: Name of the scale.
        metric: Metric that choices are made by.
        leader: The method of the highest mean.
        rivals: The others, best first.
        single: Methods of one seed, which cannot lead, best first.
        references: What learns nothing or needs labels, by variant.
        test: The leader's rows on the test part, if there are any.
    """

    scale: str
    metric: str
    leader: Method
    rivals: tuple[Rival, ...]
    single: tuple[Method, ...]
    references: Mapping[str, Method]
    test: Method | None

    @property
    def seed(self) -> int:
        """Seed of the encoder that the card is about: the lowest."""
        return min(self.leader.runs)

    @property
    def entry(self) -> Mapping[str, Any]:
        """The ledger's entry of that encoder."""
        return self.leader.runs[self.seed]


def standing(entries: list[dict], plan: Plan, scale: str) -> Standing:
    """Find who leads a scale on the part where choices are made.

    Args:
        entries: Entries of the ledger.
        plan: The plan, which says what counts.
        scale: Name of a scale.

    Raises:
        ValueError: If no method that needs no labels has enough seeds.
    """
    metric = plan.primary
    methods = _methods(entries, plan, scale, 'val')
    able = [m for m in methods if m.learns and not m.needs_labels]
    ranked = sorted(
        (m for m in able if len(m.values(metric)) >= MIN_SEEDS),
        key=lambda m: m.interval(metric).mean,
        reverse=True,
    )
    if not ranked:
        raise ValueError(
            f'expected a method of {scale!r} that needs no labels with '
            f'{MIN_SEEDS} seeds or more in the ledger, got none; run '
            f'tools/experiments/run.py --scale {scale}'
        )
    leader, *others = ranked
    tests = _methods(entries, plan, scale, 'test')
    return Standing(
        scale=scale,
        metric=metric,
        leader=leader,
        rivals=tuple(_compared(leader, others, metric)),
        single=tuple(
            sorted(
                (m for m in able if len(m.values(metric)) < MIN_SEEDS),
                key=lambda m: m.interval(metric).mean,
                reverse=True,
            )
        ),
        references={
            m.variant: m for m in methods if m.needs_labels or not m.learns
        },
        test=next((m for m in tests if _digest(m) == _digest(leader)), None),
    )


def _methods(
    entries: list[dict], plan: Plan, scale: str, part: str
) -> list[Method]:
    """The methods of a part; variants of one digest are one method.

    It has the name under which most seeds ran.
    """
    found: dict[str, list[tuple[str, dict[int, dict]]]] = {}
    for variant, runs in select(entries, plan, scale, part).items():
        digest = next(iter(runs.values()))['digest']
        found.setdefault(digest, []).append((variant, runs))
    methods = []
    for named in found.values():
        variant, _ = max(named, key=lambda pair: len(pair[1]))
        merged = {s: run for _, runs in named for s, run in runs.items()}
        methods.append(Method(variant, merged))
    return methods


def _digest(method: Method) -> str:
    return next(iter(method.runs.values()))['digest']


def _compared(
    leader: Method, others: Iterable[Method], metric: str
) -> list[Rival]:
    others = list(others)
    own = leader.values(metric)
    leads = [paired(own, other.values(metric)) for other in others]
    found = holm([math.nan if x is None else p_value(x) for x in leads])
    best = leader.interval(metric)
    rivals = []
    for other, lead, p in zip(others, leads, found, strict=True):
        its = other.interval(metric)
        overlaps = best.mean - best.half <= its.mean + its.half
        rivals.append(Rival(other, lead, p, overlaps))
    return rivals
