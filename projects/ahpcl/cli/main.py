"""The command ``ahpcl``: finds a subcommand and calls it."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import ahpcl
from ahpcl.compat.unknown_option import unknown_option
from ahpcl.utils.text import print_any_name

from .console import say

#: Subcommands, each a module beside this one, and what they do.
COMMANDS = {
    'train': 'train an encoder on a folder of images',
    'report': 'write a run as one HTML page',
    'evaluate': 'measure a run: kNN, linear probe, few shots, clusters',
    'embed': 'write the features of images',
    'assign': 'tell to which clusters images belong',
    'cluster': 'cluster images by an encoder that is not trained',
    'similar': 'find the training images like an image',
    'export': 'write the encoder for ONNX, timm, torchvision, ...',
    'run': 'train from a config file',
    'figures': 'draw a run: curves, t-SNE, galleries, trees',
    'doctor': 'say what is installed, patched and missing',
}
_EXAMPLE = """\
ahpcl train photos/ --out runs/photos --minutes 30
ahpcl report runs/photos

'ahpcl COMMAND --help' says more of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments; those of the process if None.

    Returns:
        The exit code: 0, 1 after an error that is said, 2 where the
        arguments are no command.
    """
    print_any_name()
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments else '--help'
    if name in ('-h', '--help'):
        say(_help())
        return 0
    if name == '--version':
        say(ahpcl.__version__)
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        sys.stderr.write(
            f'error: expected a command of {", ".join(COMMANDS)}, got '
            f'{name!r}{hint}\n'
        )
        return 2
    if name == 'doctor':
        # It parses its own arguments, and runs where nothing else does.
        return importlib.import_module('ahpcl.doctor').main(arguments)
    try:
        module = importlib.import_module(f'ahpcl.cli.{name}')
    except ModuleNotFoundError as error:
        if error.name != f'ahpcl.cli.{name}':
            raise
        sys.stderr.write(f'error: this install has no command {name!r}\n')
        return 2
    return call(module, arguments, prog=f'ahpcl {name}')


def call(
    module: ModuleType, argv: Sequence[str] | None = None, prog: Any = None
) -> int:
    """Parse arguments for a module of this package, and run it.

    Args:
        module: With ``add_arguments`` and ``main``.
        argv: Arguments; those of the process if None.
        prog: Name of the program in its help; None for that of the process.

    Returns:
        The exit code. What a user can put right is one line: our messages
        say what they expected, others come with where they are from.
    """
    try:
        return int(module.main(parse(module, argv, prog)) or 0)
    except (ValueError, OSError, ImportError, TypeError) as error:
        text = str(error)
        if isinstance(error, TypeError):
            text = unknown_option(error) or ''
        ours = text.startswith('expected ')
        if not ours and not isinstance(error, OSError):
            raise
        sys.stderr.write(f'error: {text}\n')
        return 1


def parse(
    module: ModuleType, argv: Sequence[str] | None = None, prog: Any = None
) -> argparse.Namespace:
    """Return the arguments of a module of this package."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser.parse_args(argv)


def _help() -> str:
    rows = '\n'.join(f'  {name:9} {about}' for name, about in COMMANDS.items())
    return f'usage: ahpcl COMMAND ...\n\n{rows}\n\n{_EXAMPLE}'


if __name__ == '__main__':
    sys.exit(main())
