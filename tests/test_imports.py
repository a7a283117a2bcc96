"""The floors of the house, read from the imports of the sources, those within functions too."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "probgen"

# From the ground up. A module imports from lower floors, and from its own room.
FLOORS = (
    {"_containers"},
    {"_validation"},
    {
        "_callbacks",
        "_calls",
        "_constants",
        "_devices",
        "_lazy",
        "_warnings",
        "_writing",
        "exceptions",
        "row_blocks",
    },
    {"options", "sequences", "tables"},
    {
        "datasets",
        "distributions",
        "marginal_likelihood",
        "networks",
        "persistence",
        "preprocessing",
    },
    {"conditions", "gaussians"},
    {"boltzmann", "mixtures"},
    {"markov"},
    {"base"},
    {"metrics"},
    {"plots"},
    {"pipeline", "training"},
    {"programs"},
    {"estimators"},
    {"cli"},
)
FLOOR_OF = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

# The families of generators that share parts with another one.
KIN = {("adversarial", "variational")}


def _name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {_name(path): path for path in PACKAGE.rglob("*.py")}


def _imports(path):
    """The modules of the package that a file imports, those for type checkers alone apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_checkers = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for_checkers |= {id(part) for part in ast.walk(node)}
    imported = set()
    for node in ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= submodules & MODULES.keys() or {node.module}
    return imported & MODULES.keys()


IMPORTS = {name: _imports(path) for name, path in MODULES.items()}


def _room(name):
    """The folder or file right below the package; None for the package itself."""
    _, *parts = name.split(".")
    return parts[0] if parts else None


def _family(name):
    """The folder of a family of generators, or None."""
    parts = name.split(".")
    is_family = parts[1:2] == ["estimators"] and len(parts) > 2
    return parts[2] if is_family and (PACKAGE / "estimators" / parts[2]).is_dir() else None


def test_every_room_has_a_floor():
    assert {_room(name) for name in MODULES} - {None} == FLOOR_OF.keys()


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"probgen"}))
def test_imports_go_down(name):
    own = _room(name)
    for other in IMPORTS[name] - {"probgen"}:
        room = _room(other)
        assert room == own or FLOOR_OF[room] < FLOOR_OF[own], f"{name} imports {other}"


def test_there_is_no_circle_of_imports():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


def test_families_know_nothing_of_each_other():
    for name, imported in IMPORTS.items():
        for other in imported:
            family = _family(other)
            if family is None or _room(name) != "estimators":
                continue
            assert family == _family(name) or (_family(name), family) in KIN, (
                f"{name} imports {other}"
            )


@pytest.mark.parametrize("folder", ["conditions", "distributions", "marginal_likelihood"])
def test_an_init_that_would_load_torch_stays_empty(folder):
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr], "a docstring and nothing else"


@pytest.mark.parametrize(
    "name", [name for name in sorted(MODULES) if "_HOMES" in MODULES[name].read_text("utf-8")]
)
def test_lazy_names_are_those_that_type_checkers_see(name):
    if name == "probgen._lazy":
        return
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    block = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    if not block:
        assert name == "probgen.programs"  # no public module
        return
    seen = {alias.name for node in block[0].body for alias in node.names} - {"*"}
    homes = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    assert seen == {key.value for key in homes.keys if key is not None}
