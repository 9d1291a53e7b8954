"""The examples in the docstrings of core run and print what they say."""

import doctest
import importlib
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
