"""What to say of an option that a component of a config does not have."""

from __future__ import annotations

import difflib
import inspect
import re
from types import TracebackType


def unknown_option(error: TypeError) -> str | None:
    """Name the options of the component that was given another one.

    Args:
        error: As raised by mmengine, which builds components from a config.

    Returns:
        What was expected, what came, and what to do; None if the error is
        another one.
    """
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    place: TracebackType | None = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if not found or place is None:
        return None
    frame = place.tb_frame
    kind = frame.f_locals.get('obj_cls')
    if frame.f_code.co_name != 'build_from_cfg' or kind is None:
        return None
    names = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    near = difflib.get_close_matches(found[1], names, n=1, cutoff=0.8)
    remedy = 'remove it, or take a type that has it'
    if near:
        remedy = f'did you mean {near[0]!r}?'
    return (
        f'expected options of {kind.__name__}, which are '
        f'{", ".join(names) or "none"}, got {found[1]!r}; {remedy}'
    )
