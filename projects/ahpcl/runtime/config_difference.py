"""What two configs do not have in common."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

#: What says where and how a run is started, not what it computes.
NOT_COMPARED = (
    *('work_dir', 'launcher', 'load_from', 'resume', 'experiment_name'),
    *('train_cfg.extend', 'visualizer.name'),
)
_NONE = object()


def read_text(text: str) -> dict[str, Any] | None:
    """Read the text of a config that mmengine wrote, without running it.

    Args:
        text: Assignments of numbers, text, lists and ``dict(...)``, as
            ``Config.pretty_text`` writes them. Anything else stays as text.

    Returns:
        The settings by name; None if it is no such text.

    Examples:
        >>> read_text('train_cfg = dict(max_epochs=3, type=open("x"))')
        {'train_cfg': {'max_epochs': 3, 'type': "open('x')"}}
    """
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    return {
        line.targets[0].id: _value(line.value)
        for line in lines
        if isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Name)
    }


def config_difference(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """Name the settings in which two configs differ.

    Args:
        before: Settings, nested.
        now: The other ones.

    Returns:
        Dotted key -> both values as text, ``'nothing'`` where a config has no
        such setting; without those of :data:`NOT_COMPARED`.

    Examples:
        >>> config_difference(dict(a=dict(b=1)), dict(a=dict(b=2), c=[]))
        {'a.b': ('1', '2'), 'c': ('nothing', '[]')}
    """
    found: dict[str, tuple[str, str]] = {}
    _compare(before, now, '', found)
    return {
        key: values
        for key, values in found.items()
        if not key.startswith(NOT_COMPARED)
    }


def _compare(
    before: Any, now: Any, path: str, found: dict[str, tuple[str, str]]
) -> None:
    pairs: Any = None
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = dict.fromkeys([*before, *now])
        pairs = [
            (key, before.get(key, _NONE), now.get(key, _NONE)) for key in pairs
        ]
    elif _listed(before) and _listed(now) and len(before) == len(now):
        pairs = zip(range(len(now)), before, now, strict=True)
    if pairs is None:
        texts = _text(before), _text(now)
        if texts[0] != texts[1]:
            one, other = (_short(text) for text in texts)
            found[path] = one, other
        return
    for key, one, other in pairs:
        _compare(one, other, f'{path}.{key}' if path else str(key), found)


def _short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f'{text[: most - 3]}...'


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _text(value: Any) -> str:
    """A value as text, the same whether a config or its text holds it."""
    if value is _NONE:
        return 'nothing'
    if isinstance(value, Mapping):
        inside = ', '.join(f'{k}={_text(v)}' for k, v in value.items())
        return f'dict({inside})'
    if _listed(value):
        return f'[{", ".join(map(_text, value))}]'
    return str(value) if isinstance(value, str) else repr(value)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        return {
            _value(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
        and all(isinstance(part, ast.Dict) for part in node.args)
    ):
        # mmengine writes keys that are no names as dict({'a.b': 1}).
        found: dict[Any, Any] = {}
        for part in node.args:
            found.update(_value(part))
        return found | {key.arg: _value(key.value) for key in node.keywords}
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
