"""What does not depend on each other is asked for at the same time: one way there and back, wherever the cloud is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cgrunbook import steps
from cgrunbook.cloud import Cloud, connect
from cgrunbook.errors import NotFound, PermissionMissing
from cgrunbook.steps.credential import pair_in_use
from cgrunbook.steps.step import World
from tests.steps.performing import PRIVATE, PUBLIC, SECRET

# Seconds after which whoever is asked gives up waiting for the others to be asked as well.
_TOGETHER = 20.0


def meeting(monkeypatch: pytest.MonkeyPatch, *asked: tuple[object, str]) -> threading.Barrier:
    """Let none of these methods answer before each call that is awaited has begun."""
    place = threading.Barrier(len(asked))
    for service, name in set(asked):
        answer = getattr(service, name)

        def wait(*about: Any, _answer: Callable[..., object] = answer, **more: Any) -> object:
            place.wait(_TOGETHER)
            return _answer(*about, **more)

        monkeypatch.setattr(service, name, wait)
    return place


def nothing(*_: object) -> None:
    """There is nothing of this name."""


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = Cloud(connect("sandbox"))
    monkeypatch.setattr(cloud.repositories, "get", nothing)
    monkeypatch.setattr(cloud.secrets, "get", nothing)
    return cloud


def test_01_asks_for_the_number_the_locations_the_secrets_and_the_permissions(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    project = cloud.project
    met = meeting(
        monkeypatch,
        (project, "number"),
        (project, "api_enabled"),
        (project, "held_permissions"),
        (cloud.repositories, "locations"),
    )
    steps.CheckGoogleCloud().verify(World(cloud))
    assert not met.broken


def test_teardown_and_the_map_look_for_both_repositories_and_the_secret(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    met = meeting(monkeypatch, (cloud.repositories, "get"), (cloud.repositories, "get"), (cloud.secrets, "get"))
    steps.TearDown(PUBLIC, PRIVATE, SECRET).plan(World(cloud))
    steps.ShowMap(PUBLIC, PRIVATE, SECRET).verify(World(cloud))
    assert not met.broken


def test_what_was_refused_is_raised_to_who_needs_it_and_to_nobody_else(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionMissing("no")

    monkeypatch.setattr(cloud.secrets, "versions", refuse)
    world = World(cloud)
    world.at_once(lambda: world.versions("s"), lambda: world.repository("r"))
    assert world.repository("r") is None
    with pytest.raises(PermissionMissing):
        world.versions("s")


def test_a_pair_is_looked_for_in_the_secret_its_versions_and_the_repository(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
):
    def absent(*_: object) -> None:
        raise NotFound("no such secret")

    monkeypatch.setattr(cloud.secrets, "versions", absent)
    met = meeting(monkeypatch, (cloud.secrets, "get"), (cloud.secrets, "versions"), (cloud.repositories, "get"))
    assert pair_in_use(World(cloud), SECRET, PRIVATE) is None
    assert not met.broken
