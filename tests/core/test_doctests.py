"""The examples in the docstrings of core run and print what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import ahpcl.core

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ahpcl.core.__path__, 'ahpcl.core.')
)


@pytest.mark.parametrize('name', MODULES)
def test_the_examples_of_a_module_run(name):
    found = doctest.testmod(
        importlib.import_module(name),
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    assert found.failed == 0


@pytest.mark.parametrize('name', MODULES)
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(name)
    functions = [
        function
        for key, function in vars(module).items()
        if not key.startswith('_')
        and inspect.isfunction(function)
        and function.__module__ == name
    ]
    lacking = [f.__name__ for f in functions if '>>>' not in f.__doc__]
    assert not lacking
