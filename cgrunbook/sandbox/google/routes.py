"""Which published method a request is for.

Knows verbs and paths. Knows no service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from cgrunbook.sandbox.google.schema import Method

#: Ids have no colon, but where they are digests or a project of a domain, example.com:my-project.
_WITH_COLON = re.compile(r"sha(?:256|512):|^[a-z0-9.-]+\.[a-z]+:(?=[a-z][a-z0-9-]{4,28}[a-z0-9]$)")


class Routes:
    """The methods of a service by the segments of their paths, a variable under None, and at the end by verb and custom verb."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._root: dict[Any, Any] = {}
        for method in methods:
            path, _, custom = method.path.partition(":")
            node = self._root
            for segment in path.split("/"):
                node = node.setdefault(None if segment.startswith("{") else segment, {})
            node[method.verb, custom] = method

    def find(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method and what its path's variables hold; None when there is no such method.

        Args:
            verb: the HTTP method.
            path: the decoded path without its first slash.
        """
        before, _, custom = path.rpartition(":")
        for rest, end in ((before, (verb, custom)), (path, (verb, ""))):
            segments = rest.split("/")
            method = _below(self._root, segments, end)
            if method is not None:
                names = method.path.partition(":")[0].split("/")
                held = {name[1:-1]: value for name, value in zip(names, segments, strict=True) if name.startswith("{")}
                if not any(":" in _WITH_COLON.sub("", value) for value in held.values()):
                    return method, held
        return None


def _below(node: dict[Any, Any], segments: Sequence[str], end: tuple[str, str]) -> Method | None:
    if not segments:
        return node.get(end)
    for key in (segments[0], None):
        if segments[0] and key in node and (found := _below(node[key], segments[1:], end)) is not None:
            return found
    return None
