"""What holds for every test."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cgrunbook import redaction
from cgrunbook.run import headless
from tests import warm_python

with headless._absent("rfc3987_syntax"):  # each worker would build its grammar, for a second
    import nbformat  # noqa: F401

# The same for all workers of a run.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(8).hex()

# A busy machine is no failure: no example is timed. A fixture that serves all examples of a test is meant to.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_secret_of_an_earlier_test_is_masked() -> None:
    """The mask remembers a value for a while after its Secret is gone, and the next test's page may hold a piece of it."""
    known = redaction._known
    with known._lock:
        known._settle()
        while known._gone:
            known._forget(known._gone.popleft())


@pytest.fixture(scope="session")
def _warm_python() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, warm_python.warm_python(path=Path(folder, "socket")):
        yield Path(folder, "socket")


@pytest.fixture
def forked(_warm_python: Path) -> Iterator[None]:
    """For a test whose command lines and kernels need not start from nothing."""
    with warm_python.forking(_warm_python):
        yield


@pytest.fixture
def all_forked(_warm_python: Path) -> Iterator[None]:
    """For a test that starts this Python with other words, too."""
    with warm_python.forking(_warm_python, whatever=True):
        yield


def pytest_collection_finish() -> None:
    """Thousands of tests and what they import are there to the end: no collection of garbage needs to go through them each time."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share-of-long",
        type=float,
        default=1.0,
        help="run only this share of the tests that are long, others with each run",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the files that hold what is long, or one would be left with such a test at the end.

    xdist's worksteal gives each worker a part of the list, all of one size, and takes from the ends of these what others can do.
    """
    left_out = {item for item in items if item.get_closest_marker("long") and not _drawn(item)}
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [item for item in items if item not in left_out]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = list(dict.fromkeys(item.location[0] for item in items if item.get_closest_marker("long")))
    others = [item for item in items if item.location[0] not in long]
    ordered: list[pytest.Item] = []
    for number in range(workers):
        ordered += [item for item in items if item.location[0] in long[number::workers]]
        room = max(len(items) * (number + 1) // workers - len(ordered), 0)
        ordered += others[:room]
        others = others[room:]
    items[:] = ordered + others


def _drawn(item: pytest.Item) -> bool:
    """Whether a long test belongs to this run's share; all workers of a run draw alike."""
    drawn = int.from_bytes(hashlib.sha256(f"{_RUN} {item.nodeid}".encode()).digest()[:4]) / 2**32
    return bool(drawn < item.config.getoption("--share-of-long"))
