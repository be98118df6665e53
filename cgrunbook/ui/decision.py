"""What the button below a plan says, and what is copied of a plan.

It knows plans and where they would be made, and no widget.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cgrunbook.home import VARIABLE, home
from cgrunbook.run.context import Context
from cgrunbook.steps.step import Outcome, Plan, counted


@dataclass(frozen=True)
class Yes:
    """The button with which a plan is agreed to.

    Args:
        label: what stands on it.
        tooltip: what it does.
        style: ipywidgets' word for its colour.
    """

    label: str = "Approve"
    tooltip: str = "Make these changes"
    style: str = "primary"


def yes_to(plan: Plan, context: Context | None, *, first: bool) -> Yes:
    """The button for a plan: it says how much is deleted and where, and where the first change is made that others use.

    Args:
        context: where it would be made; None where nobody says.
        first: nothing was changed in this notebook before.
    """
    project = context.project_id if context else ""
    where = f" in {project}" if project else ""
    gone = sum(not change.field and change.after is None for change in plan.changes)
    if gone or plan.outcome is Outcome.DELETED:
        gone = gone or len({change.resource for change in plan.changes})
        label = f"Delete {counted(gone, 'resource')}{where}"
        return Yes(label, "Delete them, for good: what is lost stands above", "danger")
    if first and context and context.real and project:
        return Yes(f"Change {project}", f"Make these changes{where} on Google Cloud")
    return Yes()


def copied(commands: Sequence[str], context: Context | None) -> Sequence[str]:
    """The commands as they are copied: the sandbox's for the very sandbox of this kernel, whatever shell they are put into."""
    if not commands or context is None:
        return commands
    python = shlex.quote(sys.executable)
    return [context.by_hand(commands, f"{VARIABLE}={shlex.quote(str(home()))} {python} -m cgrunbook")]
