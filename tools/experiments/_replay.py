"""Runs that advance when another run did: controls of the policies.

A config with ``replay = dict(config='ahpcl', seed='next')`` takes the advances
of the next planned seed of that config, ``seed='mean'`` its mean pace over all
planned seeds. What adapts to a run should do better than either.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

from _ledger import newest
from _plan import Plan, Row
from mmengine.config import Config, ConfigDict

SEEDS = ('next', 'mean')


def sources(row: Row, plan: Plan) -> list[Row]:
    """The rows whose advances a row replays; none if it replays nothing.

    Raises:
        ValueError: If the plan has no such row, or the config asks for
            another seed than 'next' or 'mean'.
    """
    replay = row.replay()
    if replay is None:
        return []
    if replay['seed'] not in SEEDS:
        raise ValueError(
            f"expected replay.seed 'next' or 'mean', got {replay['seed']!r}"
        )
    same = {
        other.seed: other
        for other in plan.rows
        if (other.scale, other.part) == (row.scale, row.part)
        and other.variant == replay['config']
    }
    if replay['seed'] == 'mean' and same:
        return [same[seed] for seed in sorted(same)]
    others = sorted(seed for seed in same if seed != row.seed)
    if not others:
        raise ValueError(
            f'{row.name}: expected another planned seed of '
            f'{replay["config"]!r} to replay, got none'
        )
    later = [seed for seed in others if seed > row.seed]
    return [same[(later or others)[0]]]


def replayed(
    row: Row, config: Config, plan: Plan, entries: list[dict]
) -> Config:
    """The config with the policy that replays, in place.

    Raises:
        ValueError: If a row that is replayed has not run.
    """
    rows = sources(row, plan)
    if not rows:
        return config
    found = newest(entries, plan.superseded)
    missing = [source.name for source in rows if source.key not in found]
    if missing:
        raise ValueError(
            f'{row.name} replays {", ".join(missing)}, which have not run'
        )
    stays = [stays_of(found[source.key]['curves']) for source in rows]
    config.custom_hooks[0]['policy'] = ConfigDict(
        type='FixedPolicy', epochs=mean_stays(stays)
    )
    return config


def stays_of(curves: dict[str, Any]) -> dict[int, int]:
    """Epochs of every rung that a run advanced from, by its K.

    Args:
        curves: Of a ledger's entry: 'rungs' has those of every epoch, none in
            the warm-up.
    """
    runs = [
        (rungs, len(list(group)))
        for rungs, group in itertools.groupby(
            tuple(rungs) for rungs in curves['rungs'] if rungs
        )
    ]
    return {rungs[-1]: stay for rungs, stay in runs[:-1]}


def mean_stays(stays: Sequence[dict[int, int]]) -> list[tuple[int, int]]:
    """The rule of a `FixedPolicy`: mean epochs of every rung, by K.

    Raises:
        ValueError: If no run advanced: there is nothing to replay.
    """
    rungs = sorted({rung for each in stays for rung in each})
    if not rungs:
        raise ValueError('expected runs that advance, got none that did')
    return [
        (
            rung,
            round(statistics.fmean(e[rung] for e in stays if rung in e)),
        )
        for rung in rungs
    ]
