"""What to say of an option that a component of a config does not have."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator
from types import FrameType
from typing import Any


def unknown_option(error: TypeError) -> str | None:
    """Name the options of the component that was given another one.

    Args:
        error: As raised where mmengine builds a component from a config.

    Returns:
        What was expected, what came, and what to do; None if the error is
        another one.
    """
    found = re.search(
        r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'",
        str(error),
    )
    frames = list(_builds(error))
    if not found or not frames:
        return None
    frame = frames[-1]  # the innermost
    raised_by, option = found.groups()
    kind, given = frame.f_locals['obj_cls'], frame.f_locals['args']
    # A class may hand options on to those that it is derived from.
    classes = kind.__mro__ if isinstance(kind, type) else [kind]
    if option not in given or raised_by not in {c.__name__ for c in classes}:
        return None
    filled = set(frame.f_locals.get('default_args') or ())
    names = [name for name in _options(classes) if name not in filled]
    near = difflib.get_close_matches(option, names, n=1, cutoff=0.8)
    remedy = 'remove it, or take a type that has it'
    if near:
        remedy = f'did you mean {near[0]!r}?'
    return (
        f'expected options of {kind.__name__}, which are '
        f'{", ".join(names) or "none"}, got {option!r}; {remedy}'
    )


def _builds(error: TypeError) -> Iterator[FrameType]:
    """Frames in which mmengine was building a component, innermost last."""
    place = error.__traceback__
    while place is not None:
        frame = place.tb_frame
        if (
            frame.f_code.co_name == 'build_from_cfg'
            and {'obj_cls', 'args'} <= frame.f_locals.keys()
        ):
            yield frame
        place = place.tb_next


def _options(classes: Any) -> list[str]:
    """Names of all parameters, those of the component itself first."""
    names: dict[str, None] = {}
    for kind in classes:
        if kind is object:
            continue
        parameters = inspect.signature(
            kind.__init__ if isinstance(kind, type) else kind
        ).parameters.values()
        names.update(
            dict.fromkeys(
                parameter.name
                for parameter in parameters
                if parameter.kind
                not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
                and parameter.name != 'self'
            )
        )
    return list(names)
