"""Where each value of a notebook's parameters comes from, and what the form has saved for the next notebook.

It knows the order of those who may say a value, and the file of the saved ones. It knows no widget and calls nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cgrunbook import parameters
from cgrunbook.cloud.configured_project import configured_project
from cgrunbook.errors import ParameterError
from cgrunbook.home import home, made
from cgrunbook.parameters import Way
from cgrunbook.run.folder import write_whole
from cgrunbook.run.given import injected_names

# What is meant for one run only: a deletion that was confirmed once must not be confirmed for ever.
_FOR_ONE_RUN = frozenset({"confirm", "try_fresh_repository", "chainguard_set_up"})

# Under this name the notebook's namespace remembers what the form wrote there, so that it is not taken for the cell's.
_WRITTEN = "_cgrunbook_written"


class Source(StrEnum):
    """Who says a value, in the order of their right to do so."""

    GIVEN = "given"
    CELL = "this cell"
    SAVED = "saved"
    ENVIRONMENT = "environment"
    CREDENTIALS = "credentials"
    GCLOUD = "gcloud"
    SANDBOX = "sandbox"
    DEFAULT = "default"


@dataclass(frozen=True)
class Value:
    """A parameter's value, and who says so; `note` tells where others say something else."""

    value: Any
    source: Source
    note: str = ""


class Saved(BaseModel):
    """What the form has saved: of each target the values that differ from their defaults.

    Attributes:
        target: where the person worked last.
        values: by target and by name.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    values: dict[str, dict[str, Any]] = {}

    def of(self, target: str) -> Mapping[str, Any]:
        """The values saved for one target."""
        return self.values.get(target, {})


def read_saved() -> Saved | None:
    """What was saved; None when nothing ever was, or the file is none of ours."""
    try:
        return Saved.model_validate_json(_path().read_bytes())
    except (OSError, ValidationError):
        return None


def why_unread() -> str:
    """Why nothing can be read of what was saved, a sentence; "" where it can, or nothing ever was."""
    path = _path()
    if read_saved() is not None or not os.path.lexists(path):
        return ""
    return f"What was saved before is not taken: {path} cannot be read, or is none of cgrunbook's. The button writes it anew."


def save(chosen: Mapping[str, Any], *, forget: bool = False) -> Saved:
    """Save what was chosen in one notebook, for every notebook of this home. No parameter is a secret.

    Args:
        chosen: values by name, the target among them.
        forget: whether nothing is kept of what was saved of this target before.

    Returns:
        All that is saved now.

    Raises:
        StepFailed: the file cannot be written.
    """
    path, target = _path(), str(chosen["target"])
    made(path.parent)
    before = read_saved() or Saved(target=target)
    new = {name: value for name, value in chosen.items() if name not in {"target", *_FOR_ONE_RUN}}
    kept = {name: value for name, value in before.of(target).items() if name not in new and not forget}
    kept |= {name: value for name, value in new.items() if value != default(name)}
    saved = Saved(target=target, values={**before.values, target: kept})
    write_whole(path, json.dumps(saved.model_dump(), indent=2, sort_keys=True) + "\n", mode=0o600)
    return saved


def default(name: str) -> Any:
    """A parameter's declared default."""
    return parameters.Parameters.model_fields[name].default


def said_in_notebook(namespace: Mapping[str, Any]) -> dict[str, Value]:
    """What the notebook itself says: values from outside, those edited in its cell, and the defaults."""
    given = set(injected_names(namespace))
    written = namespace.get(_WRITTEN, {})
    said = {}
    for name in names_in(namespace):
        value = namespace[name]
        if name in given:
            said[name] = Value(value, Source.GIVEN)
        elif value == default(name) or (name in written and value == written[name]):
            said[name] = Value(default(name), Source.DEFAULT)
        else:
            said[name] = Value(value, Source.CELL)
    return said


def for_person(namespace: Mapping[str, Any], saved: Saved | None, *, target: str = "") -> dict[str, Value]:
    """The values that the form begins with.

    Args:
        namespace: the notebook's globals.
        saved: what was saved before.
        target: the target that the person has just chosen; "" takes what the notebook or the saved values say.
    """
    values = said_in_notebook(namespace)
    if target:
        values["target"] = Value(target, values["target"].source)
    elif saved is not None and values["target"].source is Source.DEFAULT:
        values["target"] = Value(saved.target, Source.SAVED)
    kept = saved.of(str(values["target"].value)) if saved is not None else {}
    for name, value in values.items():
        if value.source is Source.DEFAULT and name in kept:
            values[name] = Value(kept[name], Source.SAVED)
    if values["target"].value == "google-cloud" and "project_id" in values and not values["project_id"].value:
        found = configured_project()
        if found.source:
            values["project_id"] = Value(found.id, Source(found.source), found.note)
    return values


def in_use(said: Mapping[str, Value], target: Mapping[str, str]) -> dict[str, Value]:
    """The values that a run works with, where the target has filled in what was left empty.

    Args:
        said: by name, what was said.
        target: by name, what the runbook works on.
    """
    values = dict(said)
    for name, value in target.items():
        if name in values and not values[name].value and value:
            if target["target"] != "google-cloud":
                values[name] = Value(value, Source.SANDBOX)
            elif (found := configured_project()).id == value and found.source:
                values[name] = Value(value, Source(found.source), found.note)
            else:
                values[name] = Value(value, Source.GCLOUD)
    return values


def write_back(namespace: MutableMapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Give the notebook's later cells the values that were chosen."""
    namespace.update(chosen)
    namespace[_WRITTEN] = dict(chosen)


def broken_rules(values: Mapping[str, Any]) -> dict[str, str]:
    """What keeps a notebook from beginning with these values, as a sentence by name; "" for several together."""
    broken: dict[str, str] = {}
    try:
        parameters.check(values, way=lambda _: Way.FORM)
    except ParameterError as error:
        broken |= error.rules
    no_project = values.get("target") == "google-cloud" and values.get("project_id") == ""
    if no_project and not configured_project().id:
        broken.setdefault("project_id", "must be given: neither environment, credentials nor gcloud name a project.")
    return broken


def names_in(names: Collection[str]) -> tuple[str, ...]:
    """The parameters among names, a notebook's globals for instance, in the order of their declaration."""
    return tuple(name for name in parameters.NAMES if name in names)


def _path() -> Path:
    return home() / "parameters.json"
