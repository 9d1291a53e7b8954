"""Config files: ``_base_ = 'ahpcl::...'``, and their text, formatted once."""

from __future__ import annotations

import difflib
import functools
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .fix import Fix

PREFIX = 'ahpcl::'


def config_root() -> Path:
    """Returns the folder of the project's configs.

    Returns:
        ``configs`` of the checkout for an editable install, else
        ``.mim/configs`` inside the installed package.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    if (checkout / 'pyproject.toml').is_file():
        return checkout / 'configs'
    return package / '.mim' / 'configs'


def find_config(name: str) -> str:
    """Returns the path of one of the project's configs.

    Args:
        name: ``ahpcl::ahpcl_minin.py``, with or without the prefix; folders
            as in ``ahpcl::_base_/default_runtime.py``.

    Returns:
        Its absolute path.

    Raises:
        FileNotFoundError: If there is no such config; names the nearest.
    """
    root = config_root()
    relative = name.removeprefix(PREFIX)
    path = root / relative
    if path.is_file():
        return str(path)
    known = [str(p.relative_to(root)) for p in sorted(root.rglob('*.py'))]
    near = difflib.get_close_matches(relative, known, n=3, cutoff=0.5)
    hint = f'did you mean {", ".join(near)}?' if near else f'known: {known}'
    raise FileNotFoundError(
        f'expected a config of ahpcl in {root}, got {relative!r}: {hint}'
    )


def _get_cfg_path(original: Any) -> Any:
    """Wraps ``Config._get_cfg_path``."""

    @functools.wraps(original)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return find_config(cfg_path), None
        return original(cfg_path, filename)

    get_cfg_path._ahpcl = True  # type: ignore[attr-defined]
    return get_cfg_path


def _needed() -> bool:
    return not hasattr(Config._get_cfg_path, '_ahpcl')


def _apply() -> None:
    Config._get_cfg_path = staticmethod(_get_cfg_path(Config._get_cfg_path))


CONFIG_PATHS = Fix(
    name='config-paths',
    symptom=(
        "_base_ = 'ahpcl::...' is unknown, as mmengine resolves its own "
        'packages only, and tags what it resolves with a scope'
    ),
    upstream='mmengine 0.10.7 config/utils.py MODULE2PACKAGE, by design',
    needed=_needed,
    apply=_apply,
)


def _pretty_text(original: Any) -> Any:
    """Wraps the getter of ``Config.pretty_text``, which keeps the last one."""
    kept: dict[str, str] = {}

    @functools.wraps(original)
    def pretty_text(config: Config) -> str:
        content = repr(config.to_dict())
        if content not in kept:
            text = original(config)
            kept.clear()
            kept[content] = text
        return kept[content]

    pretty_text._ahpcl = True  # type: ignore[attr-defined]
    return pretty_text


def _text_needed() -> bool:
    return not hasattr(Config.pretty_text.fget, '_ahpcl')


def _text_apply() -> None:
    Config.pretty_text = property(_pretty_text(Config.pretty_text.fget))


CONFIG_TEXT = Fix(
    name='config-text',
    symptom=(
        'a run begins seconds later, as the same config is formatted by yapf '
        'four times: for the log, the work folder and every vis backend'
    ),
    upstream='mmengine 0.10.7 config/config.py pretty_text, by design',
    needed=_text_needed,
    apply=_text_apply,
)
