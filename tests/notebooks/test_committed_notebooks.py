"""The committed notebooks say what happens: nbval executes each anew and compares every output."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from cgrunbook import parameters
from cgrunbook.run import notebooks
from tests.notebooks.parameter_cells import notebook_cell
from tests.notebooks.worlds import NAMES, NOTEBOOKS, ROOT, world_for

HERE = Path(__file__).parent

# The guide's own site, and what the guide names for learning more.
GUIDES = ("https://edu.chainguard.dev/", "https://cloud.google.com/artifact-registry/docs/overview")
LEARN_MORE = (
    "https://edu.chainguard.dev/chainguard/chainguard-registry/overview/",
    "https://edu.chainguard.dev/chainguard/chainguard-images/overview/",
    GUIDES[1],
)

# jsonschema, which nbformat imports, builds a grammar for a second where it finds rfc3987_syntax.
PYTEST = "import sys; sys.modules['rfc3987_syntax'] = None; import pytest; sys.exit(pytest.main())"

# What differs from machine to machine; everything else is compared.
NOT_COMPARED = {("01_prerequisites", "await book.check(steps.CheckThisMachine())")}


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


@pytest.mark.usefixtures("all_forked")  # and the runs before it
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_executed_anew_says_the_same(name):
    command = [
        *(sys.executable, "-c", PYTEST, "--quiet", "-c", str(HERE / "nbval.ini"), "--rootdir", str(ROOT)),
        *("-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"),
        *(
            "--nbval",
            "--nbval-current-env",
            "--nbval-cell-timeout",
            "60",
            "--nbval-sanitize-with",
            str(HERE / "sanitize.cfg"),
        ),
        str(NOTEBOOKS / f"{name}.ipynb"),
    ]
    with world_for(name) as environment:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"{len(code_cells(name))} passed" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_code_cell_was_executed_in_order_and_none_failed(name):
    cells = code_cells(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert "widgets" not in read(name).metadata


@pytest.mark.parametrize("name", NAMES)
def test_only_what_differs_between_machines_is_left_uncompared(name):
    ignored = {
        (name, cell.source) for cell in code_cells(name) if "nbval-ignore-output" in cell.metadata.get("tags", [])
    }
    assert ignored == {pair for pair in NOT_COMPARED if pair[0] == name}
    tags = {tag for cell in read(name).cells for tag in cell.metadata.get("tags", [])}
    assert tags <= {"parameters", "nbval-ignore-output"}


@pytest.mark.parametrize("name", NAMES)
def test_the_parameter_cell_is_what_the_declaration_says(name):
    [cell] = [cell for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert cell.source == notebook_cell(notebooks.names_set_in(cell.source))
    headings = [line for line in cell.source.splitlines() if line.startswith("# ")]
    assert headings
    assert {heading.removeprefix("# ") for heading in headings} <= set(parameters.Group)


@pytest.mark.parametrize("name", NAMES)
def test_papermill_reads_each_parameter_with_its_type_and_its_help(name):
    seen = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    [cell] = [cell for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert tuple(seen) == notebooks.names_set_in(cell.source)
    for parameter, found in seen.items():
        assert found["inferred_type_name"] == parameters.type_name(parameter)
        assert found["help"] == parameters.Parameters.model_fields[parameter].description


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_is_short_and_holds_no_logic(name):
    for cell in code_cells(name):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        assert len(cell.source.splitlines()) <= 12, cell.source
        assert not re.search(
            r"^\s*(if|while|def|class|try|import os|import subprocess)\b", cell.source, re.MULTILINE
        ), cell.source


@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_introduced_and_links_lead_somewhere(name):
    cells = read(name).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    for cell in cells:
        for link in re.findall(r"\]\(<?([^)>]+)>?\)", cell.source):
            assert link.startswith(GUIDES) or (NOTEBOOKS / link).exists(), link


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_leads_to_the_one_before_and_the_one_after_and_links_each_that_it_names(name):
    texts = [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]
    here = NAMES.index(name)
    for neighbour in NAMES[max(here - 1, 0) : here + 2]:
        assert neighbour == name or f"({neighbour}.ipynb)" in texts[-1]
    for other in NAMES:
        named = [text for text in texts if other != name and re.search(rf"(?<![\[(]){other}(?!\.ipynb)", text)]
        assert not named, f"{other} is named without a link: {named}"
    if name[:2] in ("04", "06"):
        assert sum(link in "".join(texts) for link in LEARN_MORE) == 3


def test_the_first_lines_say_what_to_press():
    assert "**Press Run > Run All Cells.**" in read("00_start_here").cells[0].source.splitlines()[2]


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_before_the_form_is_folded_and_the_opening_cell_is_short(name):
    parameters_cell, opening = code_cells(name)[:2]
    assert parameters_cell.metadata["jupyter"] == opening.metadata["jupyter"] == {"source_hidden": True}
    assert len(opening.source.splitlines()) <= 7
    assert not [cell for cell in code_cells(name)[2:] if "jupyter" in cell.metadata]


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_steps_in_an_executed_notebook_says_how_they_ended(name):
    text = "".join(code_cells(name)[1].outputs[0].data["text/plain"])
    found = re.search(r"^Steps: (\d+) of (\d+) done$", text, re.MULTILINE)
    assert found
    only_planned = len(re.findall(r"^ +\d+  … planned: ", text, re.MULTILINE))
    assert only_planned == (name == "06_teardown")  # which nobody has confirmed
    assert int(found[1]) + only_planned == int(found[2])
