"""Settings from the command line that arrive as they were typed.

mmengine's ``DictAction`` takes every blank out of a value and splits it at
every comma: ``data_root=/my images`` becomes ``/myimages``, and a folder
``a,b`` becomes two.
"""

from __future__ import annotations

import difflib
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, DictAction

_CLOSING = {'(': ')', '[': ']'}
# An item in quotes: between brackets and commas, or at an end.
_QUOTED = re.compile(r'(?<![^\s,(\[])([\'"]).*?\1(?=\s*(?:[,)\]]|$))')


class ConfigOptions(DictAction):
    """Action of ``--cfg-options KEY=VALUE ...``, values as typed.

    Numbers, True, False, None, ``[...]``, ``(...)`` and ``a,b`` mean what
    they mean to mmengine. Blanks inside of text stay, and so do commas where
    the whole value is in quotes or is the path of a file or folder.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the settings to those that are there."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values or ():
            key, sign, value = text.partition('=')
            if not sign:
                parser.error(
                    f'{option_string}: expected KEY=VALUE, got {text!r}'
                )
            options[key] = typed(value)
        setattr(namespace, self.dest, options)


def typed(text: str) -> Any:
    """Return the value that a text on the command line means.

    Args:
        text: What stands after ``KEY=``.

    Example:
        >>> typed('0.1'), typed('[1, x y]'), typed('a,b'), typed('"a,b"')
        (0.1, [1, 'x y'], ['a', 'b'], 'a,b')
    """
    if ',' in text and os.path.exists(os.path.expanduser(text)):
        return text
    body = text.strip()
    if len(body) > 1 and body[0] == body[-1] and body[0] in '\'"':
        body = body[1:-1]
        if not body.startswith(tuple(_CLOSING)):
            return DictAction._parse_int_float_bool(body)
    closing = _CLOSING.get(body[:1])
    if closing and body.endswith(closing):
        inner = _items(body[1:-1])
        if inner is not None:
            values = [typed(item.strip()) for item in inner]
            return tuple(values) if closing == ')' else values
    items = _items(body)
    if items is None or len(items) < 2:
        return DictAction._parse_int_float_bool(text)
    return [typed(item.strip()) for item in items if item]


def _items(text: str) -> list[str] | None:
    """Split at the commas outside of brackets; None if these do not match."""
    items, start, waited = [], 0, ''
    masked = _QUOTED.sub(lambda found: '"' * len(found[0]), text)
    for place, sign in enumerate(masked):
        if sign in _CLOSING:
            waited = _CLOSING[sign] + waited
        elif sign in _CLOSING.values():
            if not waited.startswith(sign):
                return None
            waited = waited[1:]
        elif sign == ',' and not waited:
            items.append(text[start:place])
            start = place + 1
    if text[start:]:
        items.append(text[start:])
    return None if waited else items


def set_data_root(
    config: Config,
    data: str | Sequence[str],
    say: Callable[[str], None],
    option: str = '--data',
) -> None:
    """Let every data set of a config read another folder.

    Wherever a ``data_root`` is the folder of the config, or one below it, it
    becomes the new folder, or the one of that name below it. Others stay.

    Args:
        config: Changed in place.
        data: The folder as typed, or several.
        say: Prints a line, on what else is changed and what is not.
        option: Name of the option, for these lines.

    Raises:
        ValueError: If nothing in the config reads a folder, or several
            folders are read and none is the one of the config.
    """
    places = list(_places(config._cfg_dict, ''))
    known = config.get('data_root')
    if 'data_root' not in config:
        if not places:
            raise ValueError(
                f'expected a config whose data sets have a data_root for '
                f'{option}, got {config.filename or "one"} without; '
                'configs/ahpcl_folder.py reads any folder of images'
            )
        found = {str(node['data_root']) for node, _ in places}
        if len(found) > 1:
            names = ', '.join(f'{place}.data_root' for _, place in places)
            raise ValueError(
                f'expected a config with one data_root for {option}, got '
                f'{len(found)} folders; set each with --cfg-options: {names}'
            )
        known = places[0][0]['data_root']
    config.data_root = data
    for node, place in places:
        if not place:
            continue  # the variable itself
        root = node['data_root']
        if _same(root, known):
            node['data_root'] = data
        elif _is_below(root, known):
            rest = root[len(known.rstrip('/')) :].strip('/')
            node['data_root'] = (
                os.path.join(data, rest)
                if isinstance(data, str)
                else [os.path.join(own, rest) for own in data]
            )
        else:
            say(f'{option}: {place}.data_root stays {root!r}')
            continue
        say(f'{option}: also changes {place}.data_root')


def _places(node: Any, path: str) -> Iterator[tuple[dict, str]]:
    """Find the dicts with a ``data_root``, and where they are."""
    if isinstance(node, dict):
        if 'data_root' in node:
            yield node, path
        items = list(node.items())
    elif isinstance(node, list | tuple):
        items = list(enumerate(node))
    else:
        return
    for name, part in items:
        yield from _places(part, f'{path}.{name}' if path else str(name))


def _same(root: Any, known: Any) -> bool:
    if isinstance(root, str) and isinstance(known, str):
        return root.rstrip('/') == known.rstrip('/')
    return type(root) is type(known) and root == known


def _is_below(root: Any, known: Any) -> bool:
    return (
        isinstance(root, str)
        and isinstance(known, str)
        and bool(known.strip('/'))
        and root.startswith(f'{known.rstrip("/")}/')
    )


def warn_if_new(
    cfg: Config,
    key: str,
    known: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Warn of a dotted key of ``--cfg-options`` that leads nowhere.

    Args:
        cfg: The config, before it is changed.
        key: The key.
        known: Keys that a config need not have.
        say: Prints the warning.
    """
    node: Any = cfg._cfg_dict
    for depth, name in enumerate(key.split('.')):
        if isinstance(node, list | tuple) and name.lstrip('-').isdigit():
            if int(name) >= len(node):
                return  # merging says so itself
            node = node[int(name)]
            continue
        if not isinstance(node, dict):
            return
        if name not in node:
            if depth == 0 and name in known:
                return
            near = difflib.get_close_matches(name, list(node), n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            say(
                f'warning: --cfg-options {key}: the config has no {name!r} '
                f'there, so it is added{hint}'
            )
            return
        node = node[name]


def follow_ladder(
    config: Config, options: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """Give a loss weights for as many clusters as the options' ladder has.

    A loss with weights of its own for every cluster, ``num_clusters`` and
    ``num_levels``, was made for the ladder that the config had before. It is
    never made smaller, and stays where the options have its number.

    Args:
        config: With the options in it; changed in place.
        options: Dotted keys and their values.
        say: Told what else was changed.
    """
    head = (config.get('model') or {}).get('head') or {}
    loss = head.get('loss_proto') or {}
    hooks = config.get('custom_hooks') or []
    ladders = [h['ladder'] for h in hooks if h.get('ladder')]
    if 'num_clusters' not in loss or not ladders:
        return
    if not any(key.startswith('custom_hooks') for key in options):
        return
    (ladder, *_) = ladders
    rungs = [*(ladder.get('rungs') or ())]
    rungs += [ladder.get(end) for end in ('finest', 'start', 'stop')]
    needed = dict(
        num_clusters=max((k for k in rungs if isinstance(k, int)), default=0),
        num_levels=ladder.get('window', 3),
    )
    for name, number in needed.items():
        key = f'model.head.loss_proto.{name}'
        if key not in options and number > loss.get(name, 3):
            loss[name] = number
            say(f'the ladder also changes {key} to {number}')


def spread(
    node: Any, key: str, old: Any, new: Any, path: str = ''
) -> list[str]:
    """Change nested settings called ``key`` from ``old`` to ``new``.

    Args:
        node: The config, as dicts and lists.
        key: Name of a variable, from which these settings were made.
        old: Its value.
        new: Its value from now on.
        path: Where the node is.

    Returns:
        The places that were changed.
    """
    places = []
    if isinstance(node, dict):
        for name in list(node):
            place = f'{path}.{name}' if path else name
            same = type(node[name]) is type(old) and node[name] == old
            if path and name == key and same:
                node[name] = new
                places.append(place)
            else:
                places += spread(node[name], key, old, new, place)
    elif isinstance(node, list | tuple):
        for index, item in enumerate(node):
            places += spread(item, key, old, new, f'{path}.{index}')
    return places
