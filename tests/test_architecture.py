"""Imports go one way: read from the source, whatever gets imported when."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = ROOT / 'projects'
PACKAGE = PROJECTS / 'ahpcl'
CONTRIBUTING = ROOT / 'CONTRIBUTING.md'


def allowed() -> dict[str, set[str]]:
    """Which wings each wing may import, as CONTRIBUTING's table says."""
    table = CONTRIBUTING.read_text('utf-8').split('may import |\n', 1)[1]
    found = {}
    for line in table.splitlines()[1:]:
        if not line.startswith('|'):
            break
        wing, _, imports = line.strip('|').split('|')
        found[wing.strip(' `')] = set(re.findall(r'`(\w+)`', imports))
    return found


PURE = {'torch', 'numpy', 'sklearn', 'scipy'}
PURE |= {'faiss', 'flash_kmeans', 'superkmeans'}  # the search backends


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECTS).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def sources() -> dict[str, Path]:
    return {
        module_name(path): path
        for path in sorted(PACKAGE.rglob('*.py'))
        if '.mim' not in path.parts
    }


MODULES = sources()


def resolve(name: str, attribute: str | None = None) -> str:
    """The module that an import leads to, the attribute if it is one."""
    full = f'{name}.{attribute}' if attribute else name
    return full if full in MODULES else name


def imports_of(path: Path, module: str | None = None) -> Iterator[str]:
    """Every module that a file imports, at any depth of its code."""
    is_package = path.name == '__init__.py'
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = (module or '').split('.')
                drop = node.level - (1 if is_package else 0)
                parts = parts[: len(parts) - drop]
                base = '.'.join([*parts, *([base] if base else [])])
            yield from (resolve(base, alias.name) for alias in node.names)


GRAPH = {
    module: {
        name
        for name in imports_of(path, module)
        if name.split('.')[0] == 'ahpcl' and name != module
    }
    for module, path in MODULES.items()
}


def room(module: str) -> str:
    parts = module.split('.')
    return parts[1] if len(parts) > 1 else ''


def external(module: str) -> set[str]:
    import sys

    tops = {name.split('.')[0] for name in imports_of(MODULES[module], module)}
    return tops - set(sys.stdlib_module_names) - {'ahpcl'}


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every cycle that a depth-first walk runs into."""
    found: list[list[str]] = []
    state: dict[str, int] = {}

    def visit(node: str, trail: list[str]) -> None:
        state[node] = 1
        for target in sorted(graph.get(node, ())):
            if state.get(target) == 1:
                found.append([*trail[trail.index(target) :], target])
            elif target not in state:
                visit(target, [*trail, target])
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            visit(node, [node])
    return found


def test_the_walk_sees_the_package():
    assert {'ahpcl.core', 'ahpcl.compat', 'ahpcl.doctor'} <= set(MODULES)
    assert 'ahpcl.compat.fix' in GRAPH['ahpcl.compat']
    assert 'ahpcl.compat.packages' in GRAPH['ahpcl.doctor']  # a late import


def test_the_walk_finds_cycles():
    graph = {'a': {'b'}, 'b': {'c'}, 'c': {'b'}, 'd': set()}
    assert cycles(graph) == [['b', 'c', 'b']]


def test_the_table_has_every_wing_and_its_imports_are_acyclic():
    table = allowed()
    assert set(table) == {room(module) for module in MODULES} - {''}
    assert cycles(table) == []


@pytest.mark.parametrize('wing', sorted(allowed()))
def test_a_wing_imports_exactly_what_the_table_says(wing):
    found = {
        room(target)
        for module, targets in GRAPH.items()
        if room(module) == wing
        for target in targets
    } - {wing, ''}
    assert found == allowed()[wing]


@pytest.mark.parametrize(
    'module', sorted(m for m in MODULES if room(m) == 'core')
)
def test_core_is_pure(module):
    foreign = external(module) - PURE
    assert not foreign, f'{module} imports {foreign}'


def test_no_two_files_import_each_other():
    assert cycles(GRAPH) == []


@pytest.mark.parametrize(
    'module', sorted(m for m in MODULES if room(m) not in ('doctor', 'cli'))
)
def test_the_package_does_not_print(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text('utf-8'))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != 'print', f'{module}:{node.lineno}'


def test_nothing_of_ours_imports_the_tools():
    names = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    for module in MODULES:
        assert not external(module) & {'tools', *names}, module
