"""Reads the config that a checkpoint carries as text, and runs nothing."""

from __future__ import annotations

import ast
from typing import Any

from mmengine.config import Config

_NUMBERS = {name: float(name) for name in ('inf', 'nan')}


def parse_config(text: str) -> Config:
    """Read what mmengine writes of a resolved config.

    Such a text has nothing but assignments of literals and ``dict(...)``. It
    is read as data: a program in it is refused, not run.

    Args:
        text: Lines like ``model = dict(type='AHPCL', queue_len=1024)``.

    Raises:
        ValueError: If it holds anything else.
    """
    found: dict[str, Any] = {}
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f'expected the text of a resolved config, got {error}'
        ) from error
    for statement in statements:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise _refusal(statement)
        found[statement.targets[0].id] = _value(statement.value)
    return Config(found)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        return _call(node)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = [_value(item) for item in node.elts]
        kinds = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
        return kinds[type(node)](items)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise _refusal(node)
        keys = [_value(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, int | float):
            return -number
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _refusal(node) from None


def _call(node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ''
    words = {word.arg: word.value for word in node.keywords}
    if name == 'dict' and not node.args and None not in words:
        return {key: _value(value) for key, value in words.items()}
    if name == 'float' and len(node.args) == 1 and not words:
        text = _value(node.args[0])
        if text in ('inf', '-inf', 'nan'):
            return float(text)
    if name == 'set' and not node.args and not words:
        return set()
    raise _refusal(node)


def _refusal(node: ast.AST) -> ValueError:
    line = getattr(node, 'lineno', '?')
    return ValueError(
        'expected a config of plain values, got a program: line '
        f'{line}: {ast.unparse(node)[:80]}'
    )
