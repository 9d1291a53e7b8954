"""The command ``ahpcl``: one module for every subcommand and tool.

A module has ``add_arguments(parser)``, ``main(args) -> int``, and a docstring
that is its help. ``tools/*.py`` are thin over these modules.
"""
