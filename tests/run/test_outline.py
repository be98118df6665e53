"""The list of a notebook's steps: read out of the notebook itself, and true whatever is run in whatever order."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import ClassVar

import pytest

from cgrunbook import diagnosis, steps
from cgrunbook.errors import Declined, Interrupted, StepFailed
from cgrunbook.run.outline import Outline, Running, Standing, cells_with_steps, outline_of
from cgrunbook.run.result import Result
from cgrunbook.steps.step import Evidence, Outcome, Proof, Section, World
from tests.notebooks.worlds import NAMES, NOTEBOOKS

LISTS = {"developer_images": ["chainguard/go", "chainguard/node"], "production_images": ["chainguard-base"]}


class Look(Proof):
    section: ClassVar = Section.PREREQUISITES
    why: ClassVar = "To see."

    def __init__(self, title: str = "Look") -> None:
        self.title = title

    def verify(self, world: World) -> Evidence:
        return Evidence()


class Listen(Look):
    pass


@pytest.fixture(autouse=True)
def nobody_says_where(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("CGRUNBOOK_RUN_FOLDER", raising=False)


def perform(outline: Outline, step: Look, cell: Running, outcome: Outcome = Outcome.UNCHANGED, **more: object) -> None:
    outline.begun(step, cell)
    outline.ended(Result(1, step, outcome, **more))  # type: ignore[arg-type]


def states(outline: Outline) -> list[str]:
    return [line.words for line in outline.lines]


def notebook(path: Path, *sources: str, name: str = "mine") -> Path:
    cells = [f'book = await open_notebook("{name}", globals())', *sources]
    data = [
        {"cell_type": "markdown" if source.startswith("#") else "code", "id": f"c{number}", "source": source}
        for number, source in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": data}))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_that_performs_steps_is_a_line_that_is_called_as_its_heading(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
    headings = [line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"]]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    performing = [source for source in sources if "book.perform(" in source or "book.check(" in source]
    outline = outline_of(name, LISTS)
    assert [line.cell.source for line in outline.lines if line.cell] == performing
    titles = [line.title for line in outline.lines]
    assert len(set(titles)) == len(titles)
    for title in titles:
        assert any(
            line.startswith("##") and re.sub(r"^#+ (\d+[.] )?", "", line).strip() == title for line in headings
        ), title
    for line in outline.lines:
        assert line.cell
        assert line.state is Standing.TO_DO
        assert line.total == sum(2 if "developer_images" in lists else 1 for _, lists in line.cell.calls)
        for kind, _ in line.cell.calls:
            assert hasattr(steps, kind) or hasattr(diagnosis, kind)
    assert outline.done() == 0


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("await book.perform(steps.PullImage(image))", (("PullImage", ()),)),
        ("from cgrunbook.steps import PullImage\nawait book.perform(PullImage(x))", (("PullImage", ()),)),
        ("pull = make()\nawait book.perform(pull)", (("pull", ()),)),
        ("for a in xs:\n    for b in ys:\n        await book.perform(steps.A(a, b))", (("A", ("xs", "ys")),)),
        ("for a in sorted(xs):\n    await book.check(steps.A(a))", (("A", ("",)),)),
        ("while more():\n    await book.perform(steps.A())", (("A", ("",)),)),
        ("[await book.perform(steps.A(x)) for x in xs]", (("A", ("xs",)),)),
        ("await book.perform(steps.A(1)); await book.perform(steps.B(book.perform))", (("A", ()), ("B", ()))),
        ("%pip install x\nawait book.perform(steps.A())", None),
        ("await book.perform(", None),
        ("# book.perform(steps.A())", None),
        ("print('book.perform(')", None),
        ("settings = 1", None),
    ],
)
def test_a_cell_is_read_and_never_run(source, calls):
    found = cells_with_steps([("markdown", "a", "# Title"), ("code", "b", source)])
    assert (found[0].calls if found else None) == calls


def test_a_heading_is_read_without_its_marks_and_one_for_several_cells_is_told_apart():
    cells = cells_with_steps(
        [
            ("code", "", "await book.perform(steps.SignDockerIn())"),
            ("markdown", "", "## [The `proof`](https://example.com) ##\n\ntext"),
            ("code", "", "await book.perform(steps.PullImage())"),
            ("code", "", "await book.perform(steps.PullWithDocker())"),
        ]
    )
    titles = ["sign docker in", "The proof: pull image", "The proof: pull with docker"]
    assert [cell.title for cell in cells] == titles


def test_ones_own_copy_has_its_own_steps_and_another_notebooks_file_is_not_taken_for_it(tmp_path, monkeypatch):
    mine = notebook(tmp_path / "a.ipynb", "# One", "await book.perform(steps.A())", name="02_developer_images")
    monkeypatch.setenv("JPY_SESSION_NAME", str(mine))
    assert [line.title for line in outline_of("02_developer_images", {}).lines] == ["One"]
    assert len(outline_of("03_production_images", {}).lines) == 12, "a papermill in a notebook inherits the variable"
    monkeypatch.setenv("JPY_SESSION_NAME", "gone/nowhere.ipynb")
    assert len(outline_of("02_developer_images", {}).lines) == 5
    assert [line.title for line in outline_of("02_developer_images", {"__vsc_ipynb_file__": str(mine)}).lines] == [
        "One"
    ]
    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.setenv("CGRUNBOOK_RUN_FOLDER", str(tmp_path))
    assert [line.title for line in outline_of("02_developer_images", {}).lines] == ["One"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"cells": 1}', '{"cells": [{"cell_type": "code"}]}', "\xff", "[" * 9999]
)
def test_what_is_no_notebook_leaves_the_list_to_what_is_performed(tmp_path, monkeypatch, content):
    (tmp_path / "mine.ipynb").write_text(content, encoding="latin-1")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "mine.ipynb"))
    outline = outline_of("mine", {})
    assert not outline.lines
    perform(outline, Look("Look here"), Running())
    perform(outline, Look("Look there"), Running())
    perform(outline, Look("Look here"), Running(), Outcome.FAILED)
    assert [(line.title, line.words) for line in outline.lines] == [
        ("Look here", "failed"),
        ("Look there", "unchanged"),
    ]


def outline(*sources: str, **lists: list[str]) -> Outline:
    cells = [("code", f"c{number}", source) for number, source in enumerate(sources)]
    return Outline(cells_with_steps(cells), lambda name: len(lists[name]) if name in lists else None)


A, B = "await book.perform(steps.Look())", "await book.perform(steps.Listen())"


def test_cells_run_out_of_order_and_twice_stand_where_they_are():
    found = outline(A, B, A + " # again")
    perform(found, Look(), Running("c2", "edited since", 1))
    assert states(found) == ["to do", "to do", "unchanged"]
    perform(found, Look(), Running("", A, 2), Outcome.CREATED)
    assert states(found) == ["created", "to do", "unchanged"]
    perform(found, Listen(), Running("unknown", "x", 3), Outcome.FAILED, error=StepFailed("no"))
    assert (states(found), found.done()) == (["created", "failed", "unchanged"], 2)
    perform(found, Listen(), Running("c1", B, 4))
    perform(found, Look(), Running("c0", A, 5), Outcome.DECLINED, error=Declined("no"))
    assert (states(found), found.done()) == (["declined", "unchanged", "unchanged"], 2)
    perform(found, Look("Something else"), Running("c9", "x = 1", 6))
    assert len(found.lines) == 3, "a kind that the notebook has is taken for its cell's"


def test_a_loop_counts_its_images_and_is_done_with_the_last():
    found = outline("for i in images:\n    await book.perform(steps.Look(i))", images=["a", "b", "c"])
    cell = Running("c0", "", 1)
    perform(found, Look("a"), cell)
    assert states(found) == ["not finished, 1 of 3 done"]
    found.begun(Look("b"), cell)
    assert states(found) == ["at work, 1 of 3 done"]
    found.asks(True)
    assert states(found) == ["waits for you, 1 of 3 done"]
    found.asks(False)
    found.ended(Result(2, Look("b"), Outcome.FAILED, error=Interrupted("Interrupted.")))
    assert (states(found), found.done()) == (["interrupted, 1 of 3 done"], 0)
    for number in "abc":
        perform(found, Look(number), Running("c0", "", 2), Outcome.CREATED if number == "b" else Outcome.UNCHANGED)
    assert (states(found), found.done()) == (["created, 3 of 3 done"], 1)


def test_what_was_only_planned_is_not_done_but_gone_through_by_a_run_that_plans():
    found = outline(A, B)
    perform(found, Look(), Running("c0", A, 1), Outcome.PLANNED)
    perform(found, Listen(), Running("c1", B, 2), Outcome.SKIPPED)
    assert states(found) == ["planned", "skipped"]
    assert (found.done(), found.done(planning=True)) == (1, 2)


def test_two_cells_alike_are_filled_one_after_the_other_where_no_page_names_them():
    found = outline(A, A)
    perform(found, Look(), Running("", A, 1))
    perform(found, Look(), Running("", A, 2))
    assert states(found) == ["unchanged", "unchanged"]
