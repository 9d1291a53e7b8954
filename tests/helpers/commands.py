"""The commands of ``ahpcl.cli``, called in the test's own process."""

import importlib

from ahpcl.cli.main import parse


class Command:
    """A module of ``ahpcl.cli``, with its command line.

    Its attributes are those of the module; ``main`` answers what the command
    found, not its exit code.
    """

    def __init__(self, name):
        self.module = importlib.import_module(f'ahpcl.cli.{name}')

    def parse_args(self, argv):
        return parse(self.module, argv)

    def main(self, argv):
        return self.module.execute(self.parse_args(argv))

    def __getattr__(self, name):
        return getattr(self.module, name)
