"""`cgrunbook rotate` and `cgrunbook teardown`: runs of one notebook, with what they are told and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import cli
from cgrunbook.run import headless
from tests.sandboxes import sandbox_home
from tests.steps.performing import live_tokens, open_book, state_of


class _Told(BaseException):
    """What a run was told; nothing is run."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], dict[str, Any]]]:
    """Call the command line, and answer which notebooks it would run with which values."""

    def run(notebooks: list[str], values: dict[str, Any], **_: Any) -> None:
        raise _Told(notebooks, values)

    monkeypatch.setattr(headless, "run", run)

    def call(*words: str) -> tuple[list[str], dict[str, Any]]:
        try:
            cli.main(words)
        except _Told as what:
            return what.args[0], what.args[1]
        raise AssertionError("nothing was run")

    return call


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(words))
        assert ended.value.code == 2
        return capfd.readouterr().err

    return call


def test_what_each_option_comes_to(told: Callable[..., tuple[list[str], dict[str, Any]]]):
    assert told("rotate") == (["05_rotate_pull_token"], {})
    given = ["--if-days-left", "7", "--grace", "10m", "-p", "token_ttl", "168h", "--target", "sandbox"]
    values = {"target": "sandbox", "token_ttl": "168h", "if_days_left": 7, "grace_period": "10m"}
    assert told("rotate", *given) == (["05_rotate_pull_token"], values)
    confirmed = {"confirm": "chainguard-pull-through", "repository": "chainguard-pull-through"}
    assert told("teardown") == (["06_teardown"], confirmed | {"mode": "plan"})
    assert told("teardown", "--yes", "chainguard-pull-through") == (["06_teardown"], confirmed)
    other = ("teardown", "-p", "repository", "mine", "--yes", "mine")
    assert told(*other) == (["06_teardown"], {"confirm": "mine", "repository": "mine"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rotate", "--if-days-left", "0"), "--if-days-left"),
        (("rotate", "--grace", "1h", "-p", "grace_period", "2h"), "grace_period is given twice"),
        (("rotate", "--grace", "soon"), "must be a length of time"),
        (("rotate", "-p", "token_ttl", "9000h"), "at most 8760h"),
        (("teardown", "--yes", "chainguard-pull-thru"), "cgrunbook teardown --yes chainguard-pull-through"),
        (("teardown", "-p", "confirm", "chainguard-pull-through"), "--yes NAME"),
    ],
)
def test_what_is_refused_before_anything_is_called(refused: Callable[..., str], words: tuple[str, ...], said: str):
    assert said in refused(*words)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with sandbox_home(tmp_path / "cgrunbook") as home:
        yield home


@pytest.mark.long
@pytest.mark.usefixtures("forked")
def test_a_token_is_rotated_and_all_is_torn_down_by_the_command(home: Path, tmp_path: Path):
    def cgrunbook(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "cgrunbook", *words, "--json"], cwd=tmp_path, capture_output=True, check=False
        )
        record: dict[str, Any] = json.loads(done.stdout)
        assert record["exit_code"] == done.returncode
        return record

    cgrunbook("run", "02", "03")
    before = live_tokens(open_book()[0].cloud)
    assert cgrunbook("rotate", "--grace", "0s")["exit_code"] == 0
    cloud = open_book()[0].cloud
    after = state_of(cloud)
    assert (after.versions, after.live_tokens, after.pair_is_taken_by_cgr_dev) == (["2 ENABLED"], 1, True)
    assert live_tokens(cloud) != before
    assert cgrunbook("rotate", "--if-days-left", "7")["notebooks"][0]["steps"][0]["outcome"] == "unchanged"
    cgrunbook("rotate")  # two live tokens, for an hour
    assert cgrunbook("teardown")["exit_code"] == 4
    assert cgrunbook("teardown", "--yes", "chainguard-pull-through")["exit_code"] == 0
    assert cloud.secrets.get("chainguard-pull-token") is None
    assert cloud.chainctl.list_pull_tokens("example.com") == ()
    assert cloud.repositories.list_everywhere().repositories == ()
    assert cgrunbook("rotate")["exit_code"] == 3
