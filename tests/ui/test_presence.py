"""Who waits for a click that can never be heard ends soon, and says why."""

from __future__ import annotations

import asyncio

import pytest

from cgrunbook.errors import UsageError
from cgrunbook.ui import presence as presence_
from cgrunbook.ui.presence import Presence


def test_a_kernel_too_old_to_hear_clicks_ends_the_cell_and_names_the_first_that_does(monkeypatch):
    monkeypatch.setattr(presence_, "HEARS", (99, 1))
    monkeypatch.setattr(presence_, "UNSEEN_SECONDS", 0.05)
    monkeypatch.setattr(presence_, "names_a_cell", lambda _: True)

    async def story() -> None:
        presence = Presence("02_developer_images", {})
        assert "this cell ends in" in presence.otherwise("Approve, Decline.")
        await presence.wait(asyncio.get_running_loop().create_future(), "Turn the lamp on")

    with pytest.raises(
        UsageError, match=r"hears none while a cell waits: it has ipykernel .* 99\.1 is the first"
    ) as told:
        asyncio.run(story())
    assert "cgrunbook run 02_developer_images" in told.value.remedy
