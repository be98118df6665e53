"""The house keeps its shape: an import only goes down, and the sandbox stands apart (DESIGN, section 3)."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

import cgrunbook

PACKAGE = Path(cgrunbook.__file__).parent

# Lowest first. A module may import from its own floor and from those below.
FLOORS = (
    ("home", "errors", "redaction", "durations", "image_reference", "parameters"),
    ("cloud",),
    ("steps",),
    ("run",),
    ("ui",),
    ("cli", "__main__"),
)
# Who may start the sandbox; nobody else imports anything of it.
STARTERS = {"cloud/connection.py", "cli/app.py", "cli/sandbox.py"}
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cgrunbook":
            parts = node.module.split(".")
            found |= {".".join([*parts, alias.name]) for alias in node.names} if len(parts) == 1 else {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "cgrunbook"}
    return {name for name in found if name != "cgrunbook" and not name.endswith(".__version__")}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def test_every_room_of_the_house_stands_on_a_floor():
    assert {room_of(path) for path in MODULES} - {"sandbox"} == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_only_goes_down(path):
    room = room_of(path)
    for name in imports_of(path):
        other = name.split(".")[1]
        if room == "sandbox":
            # Where the state is kept is one truth; it is no fact about a service that client and double could share.
            assert other == "sandbox" or name == "cgrunbook.home", f"the sandbox must not know {name}"
        elif other == "sandbox":
            assert name == "cgrunbook.sandbox" or name.startswith("cgrunbook.sandbox.process"), name
            assert path.relative_to(PACKAGE).as_posix() in {"cloud/connection.py", "cli/app.py", "cli/sandbox.py"}, (
                f"only starts it: {name}"
            )
        else:
            assert LEVEL[other] <= LEVEL[room], f"{room} is below {other}"


def module_of(path: Path) -> str:
    return ".".join(("cgrunbook", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def files_imported_by(path: Path, names: set[str]) -> set[str]:
    """Modules that a file imports anywhere in it: at its top, in a function, for its types.

    `__version__` is no import: it stands in the package's own file before all else, which imports only when asked.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            written = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
            found |= {name if name in names else node.module for name in written}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name != "cgrunbook"}
    return found & names


def test_no_files_import_each_other_in_a_circle():
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    imports = {name: files_imported_by(path, set(paths)) for name, path in paths.items()}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as circle:
        pytest.fail("a circle of imports: " + " <- ".join(circle.args[1]))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_knows(path):
    assert ast.get_docstring(ast.parse(path.read_text())), "a module opens by saying what it knows and what it does not"
