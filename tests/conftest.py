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
def drawn_secrets_end_with_their_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask remembers a value after its Secret is gone, and what hypothesis draws may stand in another test's page."""
    if request.node.get_closest_marker("hypothesis"):
        monkeypatch.setattr(redaction, "_known", redaction._Known())
