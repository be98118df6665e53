"""What a notebook's cells say of its parameters: what was given, in which way, and whether it has arrived.

It reads the kernel's history and globals, and knows which programs inject a cell. What a parameter may be, it does not know.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from typing import Any

from cgrunbook import parameters
from cgrunbook.errors import ParameterError
from cgrunbook.parameters import Way
from cgrunbook.run.folder import RUN_FOLDER_VARIABLE
from cgrunbook.run.notebooks import of_the_guide

# How a cell begins that papermill has injected.
_PAPERMILL = "# Parameters\n"


def way_of(namespace: Mapping[str, Any]) -> Callable[[str], Way]:
    """How the value of each name came into a notebook."""
    if RUN_FOLDER_VARIABLE in os.environ:
        return lambda _: Way.OPTION
    given = injected_names(namespace)
    return lambda name: Way.PAPERMILL if name in given else Way.CELL


def mistyped(namespace: Mapping[str, Any]) -> list[str]:
    """The names in a notebook that were meant to be parameters and are none, whatever way they came."""
    in_passing = {
        name.id
        for statement in _statements(namespace)
        for loop in ast.walk(statement)
        if isinstance(loop, (ast.For, ast.AsyncFor))
        for name in ast.walk(loop.target)
        if isinstance(name, ast.Name)
    }
    return parameters.mistyped(namespace, injected_names(namespace), in_passing)


def not_taken(name: str, namespace: Mapping[str, Any], takes: Collection[str]) -> ParameterError:
    """The error for a variable of a notebook that was meant to be a parameter."""
    where = (
        "where it was given: papermill's -p, -r, -y or the file of -f, or the injected cell"
        if name in injected_names(namespace)
        else "in the cell that sets it"
    )
    return parameters.unknown(
        name,
        takes,
        f"Write the right name {where}. A kernel remembers the wrong one until it is restarted, or until: del {name}",
    )


def require_taken(namespace: Mapping[str, Any]) -> None:
    """Refuse what was given in vain: above the cell that declares it, or from outside, and a later cell has replaced it.

    A program that injects a cell puts it on top where it finds no cell with the tag `parameters`.

    Raises:
        ParameterError: it names each such parameter and both its values.
    """
    given: dict[str, Any] = {}
    injected = injected_names(namespace)
    declared: set[str] = set()
    for source, statements in _cells(namespace):
        for statement in statements:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                declared.add(statement.target.id)
            elif isinstance(statement, ast.Assign):
                for name in (target.id for target in statement.targets if isinstance(target, ast.Name)):
                    try:
                        value = ast.literal_eval(statement.value)
                    except ValueError:  # worked out by the notebook itself, perhaps from what was given
                        given.pop(name, None)
                        continue
                    if source.startswith(_PAPERMILL) or name not in {*declared, *injected}:
                        given[name] = value
                    elif name not in injected:
                        given.pop(name, None)
    said = [
        f"{name} was given as {parameters.shown(given[name])}, and a later cell has set it to {parameters.shown(value)}."
        for name, value in values_of(namespace).items()
        if (name in declared or name in injected) and name in given and not parameters.same(name, given[name], value)
    ]
    if said:
        raise ParameterError(
            "\n".join(said),
            "Give it below the cell that declares the parameters, and set it in no cell after. papermill and JupyterLab's "
            "scheduler inject below that cell where it has the tag `parameters`.",
        )


def values_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a notebook's globals hold, right or wrong, by name."""
    return {name: namespace[name] for name in parameters.NAMES if name in namespace}


def leave_out_what_is_not_declared(notebook: str, namespace: MutableMapping[str, Any]) -> str:
    """Take away what papermill gave to a notebook of the guide that takes no such parameter, while others of the guide do.

    Args:
        notebook: its name.
        namespace: its globals.

    Returns:
        A sentence on it; "" where there was nothing of that kind.
    """
    # The cells of the guide declare with a type, which papermill does not write.
    declared = {
        statement.target.id
        for statement in _statements(namespace)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    given = [name for name in injected_names(namespace) if name in parameters.NAMES and name not in declared]
    if not given or not declared or not of_the_guide(notebook):
        return ""
    for name in given:
        del namespace[name]
    return parameters.not_used(given, [notebook])


def injected_names(namespace: Mapping[str, Any]) -> list[str]:
    """The names that papermill put into the notebook: those assigned in the cell which it marks with `# Parameters`.

    papermill itself only warns of a name that the notebook does not have.
    """
    assigned = (node for node in _statements(namespace, _PAPERMILL) if isinstance(node, ast.Assign))
    names = (target.id for node in assigned for target in node.targets if isinstance(target, ast.Name))
    return list(dict.fromkeys(names))


def name_of_answer(namespace: Mapping[str, Any], function: str) -> str:
    """The variable that takes what a function answers, in the last of the cells that were run and call it; else `book`."""
    found = "book"
    for statement in _statements(namespace):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            called = {getattr(node.func, "id", "") for node in ast.walk(statement) if isinstance(node, ast.Call)}
            found = statement.targets[0].id if function in called else found
    return found


def _cells(namespace: Mapping[str, Any]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The cells that were run, each with its statements; none that is no plain Python, such as a magic."""
    for source in namespace.get("In", ()):
        with contextlib.suppress(SyntaxError):
            yield source, ast.parse(source).body


def _statements(namespace: Mapping[str, Any], begins: str = "") -> Iterator[ast.stmt]:
    """The statements of the cells that were run and begin so."""
    return (each for source, statements in _cells(namespace) if source.startswith(begins) for each in statements)
