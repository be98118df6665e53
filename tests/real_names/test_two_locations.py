"""Two locations with one secret, on the real names: what the one takes away the other does not miss."""

from __future__ import annotations

import re

import pytest

from tests.real_names.world import Machine

HERE, THERE = ("-p", "location", "us-central1"), ("-p", "location", "europe-west1")
NEVER_PULLED = "20261102"
TEARDOWN = ("run", "06", "-p", "confirm", "chainguard-pull-through")


@pytest.mark.long  # and in tests/steps/test_shared_by_locations.py without the real names
def test_teardown_of_the_first_location_leaves_the_second_pulling_and_that_of_the_second_takes_all(
    real_names: Machine,
) -> None:
    for words in (("run", "03", *HERE), ("run", "03", *THERE)):
        done = real_names.cgrunbook(*words)
        assert done.returncode == 0, done.stderr

    first = real_names.cgrunbook(*TEARDOWN, *HERE, "--json")
    assert first.returncode == 0, first.stderr
    assert "the repository chainguard-private in europe-west1 signs in with it" in first.stdout

    pulled = real_names.cgrunbook("run", "03", *THERE, "-p", "production_images", f"chainguard-base:{NEVER_PULLED}")
    assert pulled.returncode == 0, pulled.stderr
    assert re.search(f"chainguard-base:{NEVER_PULLED} through chainguard-private +verified +the same", pulled.stdout)
    # Artifact Registry fetched it with the pull token just then: it had none of it.
    asked = (real_names.folder / "cgrunbook" / "sandbox" / "log" / "requests.jsonl").read_text()
    assert f"/v2/example.com/chainguard-base/manifests/{NEVER_PULLED}" in asked
    assert asked.rindex("/v2/example.com/chainguard-base/blobs/") > asked.index(f"manifests/{NEVER_PULLED}")

    shown = real_names.cgrunbook("run", "06", *THERE)
    assert "Held back: 3 things would be deleted. Nothing was deleted: set confirm" in shown.stdout
    assert shown.returncode == 0

    last = real_names.cgrunbook(*TEARDOWN, *THERE)
    assert last.returncode == 0, last.stderr
    assert "left: nothing" in last.stdout


@pytest.mark.long
def test_a_rotation_in_one_location_moves_the_other_and_finds_the_old_token_gone(real_names: Machine) -> None:
    for words in (("run", "03", *HERE), ("run", "03", *THERE)):
        done = real_names.cgrunbook(*words)
        assert done.returncode == 0, done.stderr
    rotated = real_names.cgrunbook("rotate", "--grace", "0s", *HERE)
    assert rotated.returncode == 0, rotated.stderr
    assert re.search(r"updated +version 2, good until .* in 2 repositories", rotated.stdout)
    for where in (HERE, THERE):
        idle = real_names.cgrunbook("rotate", "--if-days-left", "7", *where)
        assert idle.returncode == 0, idle.stderr
        assert "days are left" in idle.stdout
    assert real_names.cgrunbook("teardown", *HERE).returncode == 4
