"""The documents lead somewhere, and no file leads out of the repository to what a reader has not got."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from cgrunbook import parameters, steps
from cgrunbook.steps.step import Step

ROOT = Path(__file__).parents[1]
ROOMS = "cloud|steps|run|ui|cli|sandbox"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WRITTEN = {".py", ".md", ".ipynb", ".j2", ".toml", ".yml", ".yaml", ".cfg", ".ini", ".json"}
FILES = sorted(
    path
    for folder in ("cgrunbook", "docs", "notebooks", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in WRITTEN and "__pycache__" not in path.parts and ".ipynb_checkpoints" not in path.parts
) + [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "environment.yml")
]

# Notes of those who planned the work: a reader of the repository has neither them nor its list of issues.
OUTSIDE = re.compile(
    r"\bfacts?,? (section )?[0-9]|\bfacts/|\bfacts: \w+\.md|\b(section|sections) [0-9]+ of the facts|\bDESIG[N]\b|\bSTYLE\.m[d]"
    r"|\brules? [0-9]+(\.[0-9]+)?\b|(?<!, )\bissue [0-9]{1,2}\b|\bissue #[0-9]{1,2}\b"
)


def anchors(document: Path) -> set[str]:
    """What may stand behind # for each heading, made as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_file_refers_to_what_is_not_in_the_repository():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := OUTSIDE.search(line))
    ]
    assert not found, "\n".join(["say the fact itself, or point to docs/services.md:", *found])


def test_each_place_of_a_document_that_code_points_to_is_there():
    for path in FILES:
        for document, anchor in re.findall(r"(docs/[\w.-]+\.md)(?:#([\w-]+))?", path.read_text()):
            assert (ROOT / document).is_file(), f"{path.relative_to(ROOT)} points to {document}"
            assert not anchor or anchor in anchors(ROOT / document), f"{path.relative_to(ROOT)}: {document}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_between_documents_leads_somewhere(document):
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", document.read_text()):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (document.parent / name) if name else document
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_file_of_ours_that_a_document_names_is_there(document):
    text = document.read_text()
    named = re.findall(r"`((?:cgrunbook|tests|docs|notebooks|\.ci)/[\w./*-]*)`", text)
    named += [f"cgrunbook/{name}" for name in re.findall(rf"`((?:{ROOMS})/[\w./*-]+)`", text)]
    gone = [name for name in named if not list(ROOT.glob(name.rstrip("/")))]
    assert not gone


def test_each_target_that_a_document_names_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)
        assert set(named) <= targets, document.name


def test_each_parameter_is_taken_by_a_notebook_and_each_step_is_performed_by_one():
    cells = [cell for path in (ROOT / "notebooks").glob("*.ipynb") for cell in json.loads(path.read_text())["cells"]]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    offered = {name: getattr(steps, name) for name in steps.__all__}
    performed = {name for name, step in offered.items() if inspect.isclass(step) and issubclass(step, Step)}
    assert {name for name in performed if f"steps.{name}(" not in code} == set()
    assert {name for name in parameters.NAMES if not re.search(rf"^{name}: ", code, re.MULTILINE)} == set()
