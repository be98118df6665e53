"""What the services have for the form's fields to offer: projects, locations, organisations, repositories.

It asks in a thread of its own and never keeps anybody waiting. It knows the services and no widget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cgrunbook.cloud import Attempts, ChainguardAccess, Cloud, connect
from cgrunbook.cloud.caller import spoken
from cgrunbook.errors import ApiDisabled, CgrunbookError

# Seconds for all attempts of one list: a list that comes later is of no use.
_LIMIT = 8.0

Offer = Callable[[str, tuple[str, ...], str], None]
Called = Callable[[str, str], None]


async def offer_lists(values: Mapping[str, Any], offer: Offer, called: Called = lambda *_: None) -> None:
    """Ask for what the fields can offer.

    Args:
        values: what the form holds; the target, the project and the location decide whom to ask for what.
        offer: called in the event loop with a parameter's name, what there is, and why it could not be asked for, "" if
            it could.
        called: called in the event loop with the caller, in a person's words, and what is to be done before anybody can be
            asked, "" if they can.
    """
    try:
        cloud = await asyncio.to_thread(_open, values)
        called(spoken(await asyncio.to_thread(lambda: cloud.connection.caller)), "")
    except CgrunbookError as error:
        called("", error.remedy or error.message)
        return
    said = set()
    for names, ask in _LISTS.items():
        wanted = [name for name in names if name in values]
        if not wanted:
            continue
        try:
            found, problem = tuple(await asyncio.to_thread(ask, cloud)), ""
        except ApiDisabled:
            found, problem = (), ""  # the usual beginning: nothing can be there yet
        except CgrunbookError as error:
            found, problem = (), _unknown(error)
        for name in wanted:
            offer(name, found, "" if problem in said else problem)
            said.add(problem)


def _open(values: Mapping[str, Any]) -> Cloud:
    connection = connect(
        values["target"],
        project_id=values.get("project_id", ""),
        location=values.get("location") or "us-central1",
        chainguard=ChainguardAccess(
            *(values.get(f"chainguard_{name}", "") for name in ("auth", "identity", "service_account"))
        ),
    )
    return Cloud(connection, Attempts(limit=_LIMIT))


def _repositories(cloud: Cloud) -> Iterable[str]:
    return [
        repository.id
        for repository in cloud.repositories.list()
        if (repository.mode, repository.format) == ("REMOTE_REPOSITORY", "DOCKER")
    ]


# Each list once, by the fields that it is for.
_LISTS: dict[tuple[str, ...], Callable[[Cloud], Iterable[str]]] = {
    ("project_id",): lambda cloud: cloud.project.visible(),
    ("location",): lambda cloud: cloud.repositories.locations(),
    ("organization",): lambda cloud: cloud.chainguard.organizations(),
    ("repository", "private_repository"): _repositories,
}

# These fields offer what is there, and take anything else as well.
LISTED = frozenset(name for names in _LISTS for name in names)


def _unknown(error: CgrunbookError) -> str:
    return f"What there is could not be listed: {error.message.splitlines()[0]}"
