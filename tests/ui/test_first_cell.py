"""A step's cell that is run before the notebook was opened."""

from __future__ import annotations

from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from cgrunbook.ui.first_cell import load_ipython_extension


def shown_for(code: str) -> str:
    shell: Any = InteractiveShell()
    said: list[str] = []
    shell._showtraceback = lambda kind, error, lines: said.extend(lines)
    load_ipython_extension(shell)
    assert not shell.run_cell(code).success
    return "\n".join(said)


def test_it_says_which_cells_come_first():
    said = shown_for("await book.perform(1)")
    assert "Run > Run All Above Selected Cell" in said
    assert "NameError" not in said


def test_another_name_that_is_not_there_is_python_s_affair():
    assert "NameError" in shown_for("boek")
