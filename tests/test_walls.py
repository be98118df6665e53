"""The house keeps its shape: an import only goes down, the sandbox stands apart, and no code reads its own prose."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import cgrunbook

PACKAGE = Path(cgrunbook.__file__).parent

# Lowest first. A module may import from its own floor and from those below.
FLOORS = (
    (
        "first_use",
        "home",
        "installation",
        "errors",
        "redaction",
        "durations",
        "image_reference",
        "nearest",
        "parameters",
    ),
    ("cloud",),
    ("steps",),
    ("diagnosis",),
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


def test_the_picture_shows_the_floors_as_they_are():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    picture = text.split("## The floors")[1].split("```")[1]
    floors: list[list[str]] = []
    for line in picture.splitlines():
        if line.startswith(("┌", "├")):
            floors.append([])
        elif line.startswith("│"):
            floors[-1] += line.split("│")[1].split()
    assert [tuple(floor) for floor in reversed(floors)] == list(FLOORS)


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
            assert path.relative_to(PACKAGE).as_posix() in STARTERS, f"only starts it: {name}"
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


# What is said to a person, and never asked by code: the fields that hold a sentence of ours.
SENTENCES = {"message", "remedy", "brief", "in_brief", "title", "why", "seen", "problem"}
# What holds somebody else's words, whatever its field is called.
FOREIGN = {"answer", "refusal"}
TAKES_APART = {
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "startswith",
    "endswith",
    "find",
    "rfind",
    "index",
    "rindex",
}
TAKES_APART |= {"count", "removeprefix", "removesuffix"}
SAME_SENTENCE = {"lower", "casefold", "strip", "rstrip", "lstrip", "splitlines"}
# Two words, or one with a space beside it: nothing but prose is told apart by that.
PHRASE = re.compile(r"[A-Za-z]{2,} +[A-Za-z]|[a-z]{3,} $|^ [a-z]{3,}|\n[A-Z]")
# Where a service or a library tells a cause by its words alone, they are read once, in its own file, and become a type.
READ_BY_THEIR_WORDS = {
    "cloud/docker.py": "the engine hands on what a registry said as text, without a status",
    "cloud/docker_config.py": "the scheme in front of an Authorization header's pair",
    "cloud/google_errors.py": "Google's services tell some causes only in the error's message",
    "cloud/manifests.py": "a media type that is JSON's own kind of value",
    "cloud/registry_errors.py": "registries tell upstream failures and perimeters only in the error's message",
    "cloud/retry.py": "that IAM does not know an account yet is told by nothing but the words",
    "redaction.py": "the first line of a private key",
}


def is_sentence(node: ast.AST) -> bool:
    """Whether an expression is one of our sentences, or a piece of one."""
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=field) if field in SENTENCES:
            return name not in FOREIGN
        case ast.Attribute(attr=field):
            return field in SENTENCES
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in SAME_SENTENCE:
            return is_sentence(inner)
        case ast.Subscript(value=inner):
            return is_sentence(inner)
    return False


def is_shown_object(node: ast.AST) -> bool:
    """Whether an expression is what an object looks like to a person: `str(error)`."""
    match node:
        case ast.Call(func=ast.Name(id="str"), args=[ast.Name() | ast.Attribute(attr="error" | "problem")]):
            return True
        case ast.Call(func=ast.Attribute(value=inner, attr=method)) if method in SAME_SENTENCE:
            return is_shown_object(inner)
        case ast.Subscript(value=inner):
            return is_shown_object(inner)
    return False


def has_phrase(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and PHRASE.search(part.value)
        for part in ast.walk(node)
    )


def examined(node: ast.AST) -> tuple[list[ast.expr], list[ast.expr]]:
    """What an expression examines, and what it looks for there."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=[pattern, *texts]):
            return texts, [pattern]
        case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value="." | "\n")]) if method in TAKES_APART:
            return [], []  # its full stop, or its lines
        case ast.Call(func=ast.Attribute(value=text, attr=method), args=wanted) if method in TAKES_APART:
            return [text], wanted
        case ast.Compare(left=left, ops=operators, comparators=others):
            looks_inside = any(isinstance(operator, ast.In | ast.NotIn) for operator in operators)
            return [left, *others], [left] if looks_inside else []
        case ast.Match(subject=subject):
            return [subject], []
    return [], []


def prose_read_in(path: Path, allowed: Collection[str] = READ_BY_THEIR_WORDS) -> Iterator[str]:
    """Each place of a module where code asks a sentence what has happened."""
    where = path.relative_to(PACKAGE).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.expr | ast.stmt):
            continue
        texts, wanted = examined(node)
        ours = any(map(is_sentence, texts))
        somebodys = any(map(is_shown_object, texts)) or any(map(has_phrase, wanted))
        if ours or (somebodys and where not in allowed):
            yield f"cgrunbook/{where}:{node.lineno}: {ast.unparse(node)[:100]}"


def test_no_code_reads_its_own_prose():
    """A cause is a type, a code or a field: a sentence may be put better any day, and nothing else must change by it."""
    found = [place for path in MODULES if room_of(path) != "sandbox" for place in prose_read_in(path)]
    assert not found, "\n".join(["these take a sentence apart, or look for words in one:", *found])


@pytest.mark.parametrize("where", READ_BY_THEIR_WORDS)
def test_a_file_that_may_read_somebody_else_s_words_still_has_to(where):
    assert list(prose_read_in(PACKAGE / where, allowed=()))


@pytest.mark.parametrize(
    "source",
    [
        'if " whose " in error.message: pass',
        'wrong = error.message.partition(": ")[2]',
        'if "versions.access" in str(error): pass',
        'if result.error.message.lower().startswith("tried"): pass',
        'if step.title == "Sign docker in": pass',
        'if title.endswith(f" through {repository}"): pass',
        're.search("is no (pull token)", said)',
        "re.sub(r'[0-9]+', 'N', finding.seen)",
        'message, _, remedy = text.partition("\\nWhat to do: ")',
    ],
)
def test_code_that_reads_prose_is_found(source, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    module = tmp_path / "module.py"
    module.write_text(source)
    assert list(prose_read_in(module))


@pytest.mark.parametrize(
    "source",
    [
        "print(error.message, error.remedy)",
        "first = error.message.splitlines()[0]",
        "newest = {step.title: step for step in steps}",  # what bears one name, whatever the name says
        'raise ValueError(error.message.removesuffix(".")) from None',
        'project, _, rest = name.partition("/")',
        'if status == "ENABLED" and error.code in ("DENIED", "UNAUTHORIZED"): pass',
        'host = text.removeprefix("https://")',
        'if line.startswith("# Parameters"): pass',
        "if isinstance(error, PermissionMissing) and not error.remedy: pass",
    ],
)
def test_code_that_shows_prose_or_reads_values_is_let_pass(source, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    module = tmp_path / "module.py"
    module.write_text(source)
    assert list(prose_read_in(module)) == []


def test_whatever_is_above_the_cloud_asks_chainguard_and_knows_no_door():
    above = [path for floor in ("steps", "diagnosis", "run", "ui", "cli") for path in (PACKAGE / floor).glob("*.py")]
    assert above
    assert [path.name for path in above if ".chainctl" in path.read_text()] == []
