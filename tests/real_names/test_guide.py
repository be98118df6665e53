"""The whole guide on the real names."""

from __future__ import annotations

from tests.real_names.world import Machine


def test_the_whole_guide_runs_without_gcloud_and_a_plan_after_it_finds_nothing(real_names: Machine) -> None:
    done = real_names.cgrunbook("run")
    assert done.returncode == 0, done.stderr
    assert "every step that was asked for was proved" in done.stdout + done.stderr
    planned = real_names.cgrunbook("plan")
    assert (planned.returncode, "nothing would be changed" in planned.stdout + planned.stderr) == (0, True)
