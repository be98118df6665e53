"""Run All in JupyterLab and `cgrunbook run` leave the same world and the same record but for times and approvals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from cgrunbook.run.record import Record, read_record
from tests.browser.records import records
from tests.left_behind import difference, masked, world
from tests.sandboxes import sandbox_home

NOTEBOOKS = ("01_prerequisites", "02_developer_images", "03_production_images", "04_debugging")

_TIMES_AND_APPROVALS = {"started", "ended", "seconds", "waits", "approval", "answered"}


def told(record: Record) -> dict[str, Any]:
    """What a record says, without its name, who began it, times and approvals."""
    data = record.model_dump(mode="json", exclude={"run", "began_in", "started", "ended", "notebooks"})
    notebooks = [timeless(notebook.model_dump(mode="json")) for notebook in record.notebooks]
    return {**masked(data), "notebooks": notebooks}


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in _TIMES_AND_APPROVALS}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return masked(value)


@pytest.mark.usefixtures("forked")
@pytest.mark.long
def test_jupyterlab_and_the_command_line_leave_the_same_world_and_the_same_record(open_tab, home, workplace, tmp_path):
    for name in NOTEBOOKS:
        tab = open_tab(name)
        tab.run_all()
        tab.approve_everything()
    by_hand, *others = [told(one) for one in records(workplace)]
    for other in others:  # a run a kernel, where the command line has one run for all
        by_hand["notebooks"] += other["notebooks"]
        differing = difference({**by_hand, "notebooks": None}, {**other, "notebooks": None})
        assert not differing, differing
    left_by_hand = world(home)

    with sandbox_home(tmp_path / "another") as another:
        run = [sys.executable, "-m", "cgrunbook", "run", "--output", str(tmp_path / "run")]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        differing = difference(world(another), left_by_hand)
        assert not differing, differing
    record = read_record(tmp_path / "run")
    assert {step.approval for notebook in record.notebooks for step in notebook.steps} == {"not asked"}
    differing = difference(told(record), by_hand)
    assert not differing, differing
