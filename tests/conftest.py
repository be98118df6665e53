"""What holds for every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from cgrunbook import redaction

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
