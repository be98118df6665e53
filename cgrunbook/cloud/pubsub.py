"""Pub/Sub's topics: whether one is there, and who may publish to it. It reads and publishes nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

from google.iam.v1 import policy_pb2
from google.protobuf.json_format import ParseDict

from cgrunbook.cloud.google_service import GoogleService
from cgrunbook.cloud.iam_policy import POLICY_VERSION, Policy, read_policy
from cgrunbook.errors import PermissionMissing


class Pubsub(GoogleService):
    """Topics by their full names, projects/P/topics/T; one official client more would be needed for two plain requests."""

    def get_policy(self, topic: str) -> Policy | None:
        """Who has which role on a topic; None where there is no such topic.

        Raises:
            PermissionMissing: the caller lacks pubsub.topics.getIamPolicy, and the topic may be there.
        """
        query = f":getIamPolicy?options.requestedPolicyVersion={POLICY_VERSION}"
        try:
            raw = self._read(topic, f"read who may publish to {topic}", query)
        except PermissionMissing:
            # To see a topic takes less than to see who may publish to it.
            if self._read(topic, f"look for {topic}") is None:
                return None
            raise
        return None if raw is None else read_policy(ParseDict(raw, policy_pb2.Policy(), ignore_unknown_fields=True))

    def _read(self, topic: str, doing: str, query: str = "") -> dict[str, Any] | None:
        address = f"{self.connection.pubsub}/v1/{topic}{query}"
        return self._find(doing, partial(self._request, "GET", address, doing))
