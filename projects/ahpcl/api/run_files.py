"""What is in a run, a checkpoint or an exported file: config and weights."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from torch import Tensor

from ahpcl.compat.configs import PREFIX, find_config
from ahpcl.datasets.fit_config import fit_to_pixels
from ahpcl.runtime.checkpoint_files import good_checkpoint, read_checkpoint

from .config_text import parse_config

#: Key of the metadata of a safetensors file that this project wrote.
PORTABLE_KEY = 'ahpcl'
PORTABLE_NAME = 'encoder.safetensors'


@dataclass(frozen=True)
class RunFiles:
    """The content of a run, whatever kind of file it lies in.

    Attributes:
        path: The checkpoint or the exported file.
        folder: Folder beside it, of the run's logs and ``clusters.csv``; None
            where nothing is in files yet.
        config: ``model`` and ``extract_dataloader`` at least.
        state: Weights by name.
        kept: What the checkpoint keeps beside weights (``ahpcl``).
        meta: What it says about itself (epoch, iteration).
    """

    path: Path
    folder: Path | None
    config: Config
    state: Mapping[str, Tensor]
    kept: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


def read_run(
    path: str | os.PathLike,
    config: str | os.PathLike | Config | dict | None = None,
) -> RunFiles:
    """Read a run, a checkpoint or an exported file.

    Args:
        path: Folder of a run, a checkpoint (``.pth``), or a safetensors file
            that ``Encoder.export`` wrote.
        config: Config for a checkpoint that holds none, or in place of it:
            a file, or what was read from one.

    Raises:
        ValueError: If there is no such file, it cannot be read, or there is
            no config.
    """
    where = Path(os.path.expanduser(path))
    if where.is_dir():
        where = _file_of(where)
    if not where.is_file():
        raise ValueError(
            'expected the folder of a run, a checkpoint or an exported file, '
            f'got {path}, which does not exist'
        )
    if where.suffix == '.safetensors':
        return _read_portable(where, config)
    if where.suffix == '.onnx':
        raise ValueError(
            f'expected a checkpoint or a .safetensors file, got {path}: an '
            'ONNX file is run by onnxruntime (its model card shows how); '
            "export('encoder.safetensors') writes a file that loads here"
        )
    content = _load(where)
    found = _config_of(where, content, config)
    if found.get('model') is None:
        raise ValueError(
            f'expected a config with a model for {where}, got one without; '
            'give the config of the run (config=...)'
        )
    state = content.get('state_dict', content)
    kept = content.get('ahpcl') or {}
    if kept.get('pixels'):
        fit_to_pixels(found, kept['pixels'])
    return RunFiles(
        path=where,
        folder=where.parent,
        config=found,
        state={k.removeprefix('module.'): v for k, v in state.items()},
        kept=kept,
        meta=content.get('meta') or {},
    )


def _file_of(folder: Path) -> Path:
    found = good_checkpoint(folder)
    if found is not None:
        return found
    if (folder / PORTABLE_NAME).is_file():
        return folder / PORTABLE_NAME
    raise ValueError(
        f'expected a run with a checkpoint (*.pth) in {folder}, got none: '
        'its training has not come to the first one yet, or it is the folder '
        'of something else; name the work folder of a run'
    )


def _load(path: Path) -> Mapping[str, Any]:
    content = read_checkpoint(path)
    if not isinstance(content, Mapping):
        raise ValueError(
            f'expected a checkpoint, got {path} with a '
            f'{type(content).__name__}'
        )
    return content


def _config_of(
    path: Path,
    content: Mapping[str, Any],
    given: str | os.PathLike | Config | dict | None,
) -> Config:
    if given is not None:
        return as_config(given)
    text = (content.get('meta') or {}).get('cfg')
    problem = 'it holds weights without a config'
    if isinstance(text, str) and text.strip():
        try:
            return parse_config(text)
        except ValueError as error:
            problem = str(error)
    beside = sorted(path.parent.glob('*.py'))
    if len(beside) == 1:
        return Config.fromfile(beside[0])
    raise ValueError(
        f'expected the config of the run in {path} or beside it, got '
        f'{len(beside)} .py files there, and {problem}; give it: '
        "config='configs/....py' (--config in the shell)"
    )


def as_config(given: str | os.PathLike | Config | dict) -> Config:
    """Return a config that is one, is a dict, or lies in a file.

    Raises:
        ValueError: If there is no such file.
    """
    if isinstance(given, Config):
        return given
    if isinstance(given, dict):
        return Config(ConfigDict(given))
    name = str(given)
    name = find_config(name) if name.startswith(PREFIX) else name
    if not Path(name).is_file():
        raise ValueError(f'expected a config file, got {given}: no such file')
    return Config.fromfile(name)


def portable_metadata(path: Path) -> dict[str, Any] | None:
    """Return what this project wrote into a safetensors file; None if not.

    Raises:
        ValueError: If it is no safetensors file.
    """
    with path.open('rb') as file:
        head = file.read(8)
        size = struct.unpack('<Q', head)[0] if len(head) == 8 else 0
        if not 0 < size <= min(2**27, path.stat().st_size):
            raise ValueError(
                f'expected a safetensors file, got {path}, which is none'
            )
        try:
            header = json.loads(file.read(size))
        except ValueError as error:
            raise ValueError(
                f'expected a safetensors file, got {path}: {error}'
            ) from error
    text = (header.get('__metadata__') or {}).get(PORTABLE_KEY)
    return None if text is None else json.loads(text)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        ImportError: If safetensors is not installed.
        ValueError: If it is damaged.
    """
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            'expected safetensors, got none; install it with: pip install '
            '"ahpcl[export]"'
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # its own kinds
        raise ValueError(
            f'expected a safetensors file that can be read, got {path}: '
            f'{error}'
        ) from error


def _read_portable(
    path: Path, config: str | os.PathLike | Config | dict | None
) -> RunFiles:
    told = portable_metadata(path)
    if told is None and config is None:
        raise ValueError(
            'expected a safetensors file that Encoder.export wrote, got '
            f'{path} without its metadata; to cluster on weights of another '
            "library: ahpcl.cluster(folder, encoder='timm:NAME', weights="
            f"'{path}')"
        )
    tensors = read_safetensors(path)
    if told is None:
        assert config is not None
        return RunFiles(path, path.parent, as_config(config), tensors)
    return RunFiles(
        path=path,
        folder=path.parent,
        config=as_config(told['config'] if config is None else config),
        state={k: v for k, v in tensors.items() if not k.startswith('ahpcl.')},
        kept=_unflatten(told.get('kept') or {}, tensors),
        meta=told.get('meta') or {},
    )


def flatten(kept: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Replace the tensors of a nest by their names, which JSON can hold.

    Args:
        kept: Plain values, lists, dicts and tensors.
        tensors: Receives the tensors by name.
        name: Name of the nest.
    """
    if isinstance(kept, Tensor):
        tensors[name] = kept.detach().cpu().contiguous().clone()
        return {'__tensor__': name}
    if isinstance(kept, Mapping):
        return {k: flatten(v, tensors, f'{name}.{k}') for k, v in kept.items()}
    if isinstance(kept, list | tuple):
        return [flatten(v, tensors, f'{name}.{i}') for i, v in enumerate(kept)]
    return kept


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {'__tensor__'}:
            return tensors[value['__tensor__']]
        return {key: _unflatten(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    return value
