"""The button below a plan, and what is copied of it: it runs in the sandbox or not at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from cgrunbook.run.context import Context
from cgrunbook.steps.step import Change, Outcome, Plan
from cgrunbook.ui.approval import Answer, Question
from cgrunbook.ui.decision import Yes, copied, yes_to

REAL = Context("google-cloud", "my-project")
SANDBOX = Context("sandbox", "cgrunbook-sandbox")
MAKES = Plan(Outcome.CREATED, (Change("repository a", "", None, "here"), Change("repository a", "mode", None, "b")))
DELETES = Plan(Outcome.DELETED, (Change("repository a", "", "", None), Change("secret b", "", "", None)))
TRIES = Plan(Outcome.VERIFIED, (Change("repository a", "", None, "and deleted again"),))


@pytest.mark.parametrize(
    ("plan", "context", "first", "label", "style"),
    [
        (MAKES, SANDBOX, True, "Approve", "primary"),
        (MAKES, REAL, True, "Change my-project", "primary"),
        (MAKES, REAL, False, "Approve", "primary"),
        (MAKES, None, True, "Approve", "primary"),
        (TRIES, REAL, False, "Approve", "primary"),
        (DELETES, REAL, False, "Delete 2 resources in my-project", "danger"),
        (DELETES, REAL, True, "Delete 2 resources in my-project", "danger"),
        (DELETES, SANDBOX, True, "Delete 2 resources in cgrunbook-sandbox", "danger"),
        (Plan(Outcome.DELETED, DELETES.changes[:1]), REAL, True, "Delete 1 resource in my-project", "danger"),
    ],
)
def test_the_button_says_what_is_done_and_where(plan, context, first, label, style):
    yes = yes_to(plan, context, first=first)
    assert (yes.label, yes.style) == (label, style)


def test_a_deletion_is_no_default_button():
    async def look() -> tuple[str, str]:
        button = Question(rest=False, yes=yes_to(DELETES, REAL, first=True)).buttons[Answer.APPROVE]
        return button.description, button.button_style

    assert asyncio.run(look()) == ("Delete 2 resources in my-project", "danger")
    assert Yes().style == "primary"


# An interactive zsh does the same; not every machine has it.
SHELLS = [pytest.param(words.split(), id=words) for words in ("bash", "bash --norc -i", "sh")]


def pasted(shell: list[str], lines: str, folder: Path, cgrunbook: str) -> tuple[list[str], str]:
    """Lines put into a shell; answers what gcloud was given, and what was printed after them."""
    for name, script in {"cgrunbook": cgrunbook, "gcloud": f'echo "$WORLD $*" >>{folder}/asked'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "WORLD": "google"}
    done = subprocess.run(
        shell, input=f"{lines}\necho still $WORLD\n", env=environment, capture_output=True, text=True, check=False
    )
    asked = folder / "asked"
    return asked.read_text().splitlines() if asked.exists() else [], done.stdout


COMMANDS = ("gcloud one \\\n  --flag='a b'", "token=$(gcloud two)", "gcloud three | cat")


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_copied_from_a_card_of_the_sandbox_runs_there_whatever_shell_it_is_put_into(shell, tmp_path):
    asked, after = pasted(shell, SANDBOX.by_hand(COMMANDS), tmp_path, "echo export WORLD=sandbox")
    assert asked == ["sandbox one --flag=a b", "sandbox two", "sandbox three"]
    assert "still google" in after, "the shell itself is left as it was"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("gone", ["exit 1", "echo export WORLD=sandbox; exit 1", None])
def test_without_the_sandbox_not_one_line_of_it_runs(shell, gone, tmp_path):
    lines = SANDBOX.by_hand(COMMANDS, "cgrunbook" if gone else "no-such-cgrunbook")
    asked, after = pasted(shell, lines, tmp_path, gone or "")
    assert asked == []
    assert "still google" in after


def test_commands_are_copied_as_they_are_for_google_cloud_and_else_for_the_sandbox_of_this_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path))
    assert copied(COMMANDS, REAL) == ["\n".join(COMMANDS)]
    assert copied(COMMANDS, None) == COMMANDS
    assert copied((), SANDBOX) == ()
    [text] = copied(COMMANDS, SANDBOX)
    assert f"CGRUNBOOK_HOME={tmp_path} " in text
    assert "-m cgrunbook sandbox env" in text
