"""How a notebook's cell of parameters is written; `make notebooks` writes each anew."""

from __future__ import annotations

import json
from collections.abc import Collection

from cgrunbook.parameters import Group, Parameters, type_name


def notebook_line(name: str) -> str:
    """The line of a notebook's parameter cell that declares this parameter."""
    field = Parameters.model_fields[name]
    return f"{name}: {type_name(name)} = {json.dumps(field.default) if not isinstance(field.default, bool) else field.default}  # {field.description}"  # noqa: E501 - one line in the cell


def notebook_cell(names: Collection[str]) -> str:
    """A notebook's cell of parameters: under a heading a group, in the order of their declaration."""
    parts = []
    for group in Group:
        lines = [
            notebook_line(name)
            for name, field in Parameters.model_fields.items()
            if name in names and field.json_schema_extra == {"group": group}
        ]
        if lines:
            parts.append("\n".join([f"# {group}", *lines]))
    return "\n\n".join(parts)
