"""The notebooks as files: where those are that the installation brings, how one is found by name, and copying them.

It knows a notebook's cell of parameters and nothing else of what is in it.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import cgrunbook
from cgrunbook import installation
from cgrunbook.errors import StepFailed, UsageError, what_helps

# The guide itself; 00 is for people, 05 and 06 are asked for by name.
_THE_GUIDE = ("01", "02", "03", "04")


@dataclass(frozen=True)
class Source:
    """A notebook that can be run.

    Attributes:
        name: its file's name without the ending; the executed notebook and the journal bear it.
        path: its file.
        content: the file as JSON data.
        declares: the parameters that its cell tagged `parameters` sets, in their order.
        injected: what a cell says that was injected before, which papermill replaces by what it injects.
    """

    name: str
    path: Path
    content: dict[str, Any]
    declares: tuple[str, ...]
    injected: dict[str, Any] = field(default_factory=dict)


def shipped_in() -> Path:
    """Where the notebooks are: in the installed package, or beside it in a checkout.

    Raises:
        UsageError: the installation has none.
    """
    package = Path(str(resources.files(cgrunbook)))
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise UsageError("This installation of cgrunbook has no notebooks.", installation.again(anew=True))


def of_the_guide(name: str) -> bool:
    """Whether the installation brings a notebook of this name, which a copy of it bears too."""
    return (shipped_in() / f"{name}.ipynb").exists()


def find(asked: Sequence[str]) -> list[Source]:
    """Find notebooks by what a person calls them.

    Args:
        asked: names, unique beginnings of names (`02`), or paths; nothing asks for the guide, 01 to 04.

    Returns:
        The notebooks, in the order asked for.

    Raises:
        UsageError: there is no such notebook, several match, one is asked for twice, or a file is no notebook.
    """
    found = [_read(_path_of(name)) for name in asked or _THE_GUIDE]
    names = [source.name for source in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"Asked for twice: {', '.join(twice)}. A run executes each notebook once.")
    return found


def _path_of(asked: str) -> Path:
    given = Path(asked)
    if len(given.parts) > 1 or (given.suffix == ".ipynb" and given.is_file()):
        return given
    folder = shipped_in()
    shipped = sorted(folder.glob("*.ipynb"))
    name = asked.removesuffix(".ipynb")
    matching = [path for path in shipped if path.stem == name] or [
        path for path in shipped if path.stem.startswith(name)
    ]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(path.stem for path in (matching or shipped))
    if matching:
        raise UsageError(f"{asked!r} could be several notebooks: {known}.")
    raise UsageError(
        f"There is no notebook {asked!r}. There are: {known}. A notebook of your own is given by its path."
    )


def _read(path: Path) -> Source:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = content["cells"]
        tagged = {
            tag: "".join(cell["source"]) for cell in reversed(cells) for tag in cell.get("metadata", {}).get("tags", ())
        }
        declares = names_set_in(tagged.get("parameters", ""))
        injected = literals_in(tagged.get("injected-parameters", ""))
    except OSError as error:
        raise UsageError(f"The notebook {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"The file {path} is no notebook.", "Give the path of an .ipynb file.") from error
    except SyntaxError as error:
        raise UsageError(f"The parameters cell of {path} is not Python: {error.msg}, line {error.lineno}.") from error
    return Source(path.stem, path.absolute(), content, declares, injected)


def names_set_in(code: str) -> tuple[str, ...]:
    """The names that a cell sets, in their order."""
    names: list[str] = []
    for statement in ast.parse(code).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return tuple(names)


def literals_in(code: str) -> dict[str, Any]:
    """What a cell sets as it stands, by name."""
    found: dict[str, Any] = {}
    for statement in ast.parse(code).body:
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            with contextlib.suppress(ValueError):
                if isinstance(target, ast.Name):
                    found[target.id] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    return found


def _without_outputs(notebook: bytes) -> bytes:
    """A notebook's file as if none of its cells had been run."""
    content = json.loads(notebook)
    for cell in content.get("cells", ()):
        if cell["cell_type"] == "code":
            cell |= {"execution_count": None, "outputs": []}
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Copied:
    """What came of copying: the files that were written, and those that were there already and were left as they are."""

    made: tuple[Path, ...]
    there: tuple[Path, ...]


def copy(destination: Path, source: Path | None = None) -> Copied:
    """Copy the notebooks without what their cells showed elsewhere, and never over a file that is there.

    What the installation brings was executed as an example; on somebody's page it would read as a result of theirs.

    Args:
        destination: the folder that gets them; made when it is not there.
        source: the folder that has them; None for those that this installation brings.

    Raises:
        StepFailed: the destination cannot be written.
    """
    source = source or shipped_in()
    made: list[Path] = []
    there: list[Path] = []
    for path in sorted(source.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        target = destination / path.relative_to(source)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            content = _without_outputs(path.read_bytes())
            with target.open("xb") as file:
                made.append(target)
                file.write(content)
        except FileExistsError:
            there.append(target)
        except OSError as error:
            if target in made:
                with contextlib.suppress(OSError):  # the first error is the one to report
                    target.unlink()  # half a notebook would be left as it is the next time
            raise StepFailed(
                f"{target} cannot be written: {error.strerror or error}.",
                what_helps(error, "choose another folder"),
            ) from error
    return Copied(tuple(made), tuple(there))
