"""What the commands share: reading a config, and saying no."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.runner import Runner

from ahpcl.cli.configs import SCALE, read_old_path, unknown_scale
from ahpcl.cli.console import say
from ahpcl.compat.configs import PREFIX, find_config
from ahpcl.compat.options import (
    ConfigOptions,
    follow_ladder,
    set_data_root,
    spread,
    warn_if_new,
)
from ahpcl.datasets.image_size import (
    KEY as IMAGE_SIZE,
)
from ahpcl.datasets.image_size import (
    pipeline_sizes,
    set_image_size,
)
from ahpcl.utils.deprecation import REMOVAL
from ahpcl.utils.text import print_any_name

if TYPE_CHECKING:
    pass

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
print_any_name()


def add_config_options(
    parser: argparse.ArgumentParser, *, data: str | None = '--data'
) -> None:
    """Adds ``--cfg-options`` and ``--data``, see :func:`apply_options`.

    Args:
        parser: Changed.
        data: Name of the second, where ``--data`` means something else; None
            for none.
    """
    if data is not None:
        parser.add_argument(
            data,
            dest='data_root',
            metavar='PATH',
            help='folder of the images, as typed: it takes the place of the '
            "config's data_root in all its data sets",
        )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config: a.b=1, a.b="[1,2]", a.0.b=x',
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose``."""
    parser.add_argument(
        '--verbose',
        action='store_true',
        help='environment, config and hooks on the console, too, not only in '
        'the log file',
    )


def add_common_arguments(
    parser: argparse.ArgumentParser, *, data: str = '--data'
) -> None:
    """Adds the arguments that every tool which builds a Runner takes.

    Args:
        parser: Changed.
        data: See :func:`add_config_options`.
    """
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: work_dir of the '
        'config, else work_dirs/<config name>, with the scale if the config '
        'has one)',
    )
    add_config_options(parser, data=data)
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started this process, if it is one of several',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def read_config(path: str) -> Config:
    """Reads a config file.

    Args:
        path: Path of the file, or ``ahpcl::name.py`` for one that is shipped.
            The paths of 0.1 still work, with a warning.

    Returns:
        The config.

    Raises:
        SystemExit: If there is no such file; names those nearby.
    """
    try:
        if not path.startswith(PREFIX) and not Path(path).is_file():
            raise FileNotFoundError(_no_config(path))
        return Config.fromfile(
            find_config(path) if path.startswith(PREFIX) else path
        )
    except FileNotFoundError as error:
        old = read_old_path(path)
        if old is None:
            raise SystemExit(unknown_scale() or str(error)) from None
        say(f'warning: {path} is now {old[1]}; the old path {REMOVAL}')
        return old[0]


def _no_config(path: str) -> str:
    """What to say of a path without a file."""
    folder = Path(path).parent
    names = [p.name for p in folder.glob('*.py')]
    near = difflib.get_close_matches(Path(path).name, names)
    hint = f'; did you mean {folder / near[0]}?' if near else ''
    return f'expected a config file, got {path}, which does not exist{hint}'


def run_name(path: str, cfg: Config) -> str:
    """Names the run of a config: the file's name, and the scale if any.

    Args:
        path: Path of the config, as it was given.
        cfg: What was read from there.
    """
    name = Path(path.removeprefix(PREFIX)).stem
    default = re.search(rf'{{{{\${SCALE}:([^}}]*)}}}}', cfg.text)
    if default is None or Path(cfg.filename).stem != name:
        return name  # no scale, or one in the old name
    scale = os.environ.get(SCALE, default[1])
    return f'{name}_{Path(scale).name}'


def apply_options(
    cfg: Config, options: dict[str, Any], data: str | None = None
) -> None:
    """Merges ``--cfg-options`` into a config, and says what looks wrong.

    A key that the config lacks is merged with a warning. A variable of the
    config that other settings were made from is changed in those too:
    wherever a setting of the same name holds the same value, and for
    ``data_root`` also a folder below it.

    Args:
        cfg: Changed in place.
        options: Dotted keys and their values.
        data: The folder of the images (``--data``); None for that of the
            config.

    Raises:
        SystemExit: If the config reads no folder.
    """
    options = dict(options)
    known = set(inspect.signature(Runner.__init__).parameters)
    for key in options:
        warn_if_new(cfg, key, known, say)
    folders = {'--data': data} if data is not None else {}
    if 'data_root' in options and 'data_root' in cfg:
        folders['--cfg-options data_root'] = options.pop('data_root')
    if len(folders) > 1:
        raise SystemExit(
            'expected --data or --cfg-options data_root=..., got both'
        )
    for option, folder in folders.items():
        try:
            set_data_root(cfg, folder, say, option)
        except ValueError as error:
            raise SystemExit(str(error)) from None
    before = {key: cfg[key] for key in options if key in cfg}
    options = {**options, **_extract_options(cfg, options)}
    cfg.merge_from_dict(options)
    for key, old in before.items():
        if isinstance(old, str | int | float | None):
            for place in spread(cfg._cfg_dict, key, old, options[key]):
                say(f'--cfg-options {key}: also changes {place}')
    follow_ladder(cfg, options, say)
    _apply_image_size(cfg, options)


def _extract_options(cfg: Config, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the extract loader for the hooks that have a copy of it."""
    own, found = cfg.get('extract_dataloader'), {}
    for key in [k for k in options if k.startswith('extract_dataloader.')]:
        for number, hook in enumerate(cfg.get('custom_hooks') or []):
            place = f'custom_hooks.{number}.{key}'
            same = hook.get('extract_dataloader') == own is not None
            if same and place not in options:
                found[place] = options[key]
                say(f'--cfg-options {key}: also changes {place}')
    return found


def _apply_image_size(cfg: Config, options: dict[str, Any]) -> None:
    """Lets `image_size` change the pipelines, which were made before.

    It is said on the command line, or in a config that inherits a data set:
    then all pipelines still have one size, another one.
    """
    size = cfg.get(IMAGE_SIZE)
    if size is None:
        return
    sizes = set(pipeline_sizes(cfg).values())
    if IMAGE_SIZE in options or (len(sizes) == 1 and sizes != {size}):
        try:
            places = set_image_size(cfg, size)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        for place in places:
            say(f'{IMAGE_SIZE}={size}: also changes {place}')


def prepare(args: argparse.Namespace) -> Config:
    """Reads the config that the arguments name and puts them into it.

    Args:
        args: With ``config`` and the arguments of
            :func:`add_common_arguments`.

    Returns:
        The config, with its work folder and launcher set.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    apply_options(cfg, args.cfg_options, args.data_root)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = os.path.expanduser(args.work_dir)
    elif cfg.get('work_dir') is None:
        name = run_name(args.config, cfg)
        cfg.work_dir = str(Path('work_dirs') / name)
    return cfg
