"""`make documents`: write what the documentation takes from the code. Tests hold the two in step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from cgrunbook.diagnosis.codes import CHECKS, EXPLAINS, HIDES
from cgrunbook.diagnosis.explain import Explained, messages
from cgrunbook.errors import ExitCode
from cgrunbook.parameters import Parameters
from cgrunbook.run.record import record_schema
from cgrunbook.steps import rights
from tests.sandbox import methods

ROOT = Path(__file__).parents[1]


def parameters_table() -> str:
    """All parameters."""
    rows = ["| parameter | default | what it is |", "|---|---|---|"]
    for name, field in Parameters.model_fields.items():
        rows.append(f"| `{name}` | `{json.dumps(field.default)}` | {field.description} |")
    return "\n".join(rows) + "\n"


def exit_codes_table() -> str:
    """All exit codes."""
    return "\n".join(["| code | means |", "|---|---|", *(f"| {code} | {code.means} |" for code in ExitCode)]) + "\n"


def pages_of_checks() -> str:
    """A page for each check of the doctor."""
    pages = []
    for code, about in CHECKS.items():
        explains, hides = (
            ", ".join(f"[{one}](#{one.partition('/')[0]})" for one in table.get(code, ())) or "nothing"
            for table in (EXPLAINS, HIDES)
        )
        rows = [f"| `{name}` | {one.why} | {one.helps} | {one.sure} |" for name, one in about.reasons.items()]
        pages += [
            f"### {code}",
            "",
            f"{about.hop[0].upper()}{about.hop[1:]}: {about.title}.",
            "",
            f"It looks at: {about.looks_at}",
            "",
            "| reason | why it fails | what to do | how sure |",
            "|---|---|---|---|",
            *rows,
            "",
            f"It can be the cause of {explains}; where it fails, {hides} may not be seen. Source: <{about.source}>",
            "",
        ]
    return "\n".join(pages)


def known_messages() -> str:
    """What `doctor --explain` knows."""
    rows = [
        "| code | who says it | what it says | what may be behind it, the likeliest first | seen in |",
        "|---|---|---|---|---|",
    ]
    for message in messages():
        causes = ", ".join(f"[{cause}](#{cause.partition('/')[0]})" for cause, _ in message.causes) or "its own remedy"
        sources = " ".join(f"[{number}]({source})" for number, source in enumerate(message.sources, 1))
        rows.append(f"| `{message.id}` | {Explained(message).known_of} | {message.means} | {causes} | {sources} |")
    return "\n".join(rows) + "\n"


# Where each stands: between two comments that bear its name.
GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "parameters"): parameters_table,
    ("README.md", "exit codes"): exit_codes_table,
    ("docs/sandbox.md", "methods"): methods.markdown,
    ("docs/services.md", "least roles"): rights.markdown,
    ("docs/diagnosis.md", "checks"): pages_of_checks,
    ("docs/diagnosis.md", "messages"): known_messages,
}


def replaced(text: str, name: str, table: str) -> str:
    """A document with what stands between the two comments of a name replaced.

    Raises:
        LookupError: the document has no such place.
    """
    place = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not place.search(text):
        raise LookupError(f"there is no place for {name}")
    return place.sub(lambda match: match[1] + table + match[2], text)


if __name__ == "__main__":
    for (document, name), table in GENERATED.items():
        path = ROOT / document
        path.write_text(replaced(path.read_text(), name, table()))
    (ROOT / "docs" / "record.schema.json").write_text(record_schema())
