"""What a fault finds: the way of an image in the sandbox's state, and the ways to change something on it.

Knows which rows the services keep of repositories, secrets, tokens, policies and hosts. Knows no fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from cgrunbook.sandbox import hosts
from cgrunbook.sandbox.context import Sandbox
from cgrunbook.sandbox.faults.changes import Changes, NothingToBreak, Row, members, new_policy_etag, policy_of
from cgrunbook.sandbox.process import ENVIRONMENT_FILE
from cgrunbook.sandbox.state import timestamp

DOCKER_CONFIG = "docker/config.json"
WRONG_HOST = "https://cgr.example.com"
_AN_HOUR = timedelta(hours=1)

Grant = tuple[str, str, str]
"""Role, condition in JSON, member."""


class World(Changes):
    """What a fault is given: the sandbox's state, to be changed, and where in it the way of an image is.

    Args:
        sandbox: whose.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox.state, sandbox.settings.home)
        self.sandbox = sandbox
        self.settings = sandbox.settings
        self.value: float | None = None  #: what was given with the fault's name
        #: Grants that somebody else has made since, by resource.
        self.spared: frozenset[tuple[str, Grant]] = frozenset()

    @property
    def now(self) -> datetime:
        """The sandbox's time."""
        return self.sandbox.clock.now()

    @property
    def agent(self) -> str:
        """Artifact Registry's service agent, as a policy names it."""
        return f"serviceAccount:{self.sandbox.iam.agent_email(hosts.ARTIFACT_REGISTRY)}"

    def remotes(self) -> list[tuple[Row, dict[str, Any]]]:
        """The remote repositories of Chainguard's registry: row and document.

        Raises:
            NothingToBreak: there is none.
        """
        found = []
        for row in self.rows("repository"):
            document = json.loads(row["document"])
            config = document.get("remoteRepositoryConfig", {})
            uri = (
                config.get("commonRepository") or config.get("dockerRepository", {}).get("customRepository") or {}
            ).get("uri")
            if uri and urlsplit(uri).hostname in {hosts.CGR_DEV, urlsplit(WRONG_HOST).hostname}:
                found.append((row, document))
        if not found:
            raise NothingToBreak("no repository pulls from cgr.dev yet. Make one first: cgrunbook run 02")
        return found

    def pairs(self) -> list[tuple[Row, dict[str, Any], dict[str, str]]]:
        """The remote repositories with credentials: row, document and their pair.

        Raises:
            NothingToBreak: none has any.
        """
        found = []
        for row in self.rows("repository"):
            document = json.loads(row["document"])
            credentials = document.get("remoteRepositoryConfig", {}).get("upstreamCredentials", {})
            if pair := credentials.get("usernamePasswordCredentials"):
                found.append((row, document, pair))
        if not found:
            raise NothingToBreak("no repository has a pull token yet. Make one first: cgrunbook run 03")
        return found

    def versions(self) -> list[Row]:
        """The secret versions that repositories have their passwords in.

        Raises:
            NothingToBreak: there is none.
        """
        found: dict[tuple[str, int], Row] = {}
        for _, _, pair in self.pairs():
            _, _, _, secret, _, version = pair["passwordSecretVersion"].split("/")
            [kept] = self.rows("secret", "id = ?", secret) or [{}]
            aliases = json.loads(kept.get("document", "{}")).get("versionAliases", {})
            number = kept.get("last_version") if version == "latest" else aliases.get(version, version)
            for row in self.rows("secret_version", "secret = ? AND number = ?", secret, number):
                found[secret, row["number"]] = row
        if not found:
            raise NothingToBreak(
                "no repository has its password in a secret version that is there. Make one: cgrunbook run 03"
            )
        return list(found.values())

    def tokens(self) -> list[Row]:
        """The identities that repositories have as their user names.

        Raises:
            NothingToBreak: there is none.
        """
        names = dict.fromkeys(pair["username"] for _, _, pair in self.pairs())
        found = [row for name in names for row in self.rows("cg_identity", "id = ? AND issuer_keys IS NOT NULL", name)]
        if not found:
            raise NothingToBreak("no repository has a pull token that is alive. Make one: cgrunbook run 03")
        return found

    def policies(self) -> list[Row]:
        """The newest policy of each resource."""
        return self.rows(
            "policy", "(resource, sequence) IN (SELECT resource, max(sequence) FROM policy GROUP BY resource)"
        )

    def grants(self, policy: Row, change: Callable[[Grant], list[Grant]]) -> bool:
        """Replace each grant of a policy by others, at once effective; tell whether that changed it."""
        before = members(json.loads(policy["body"]))
        after = dict.fromkeys(
            one
            for grant in before
            for one in ([grant] if (policy["resource"], grant) in self.spared else change(grant))
        )
        if after == before:
            return False
        effective = min(policy["effective_at"], timestamp(self.now))
        self.update("policy", policy, body=json.dumps(policy_of(after)), etag=new_policy_etag(), effective_at=effective)
        return True

    def others_grants(self) -> frozenset[tuple[str, Grant]]:
        """The grants that are there as no fault leaves them, by resource: what a fault makes again is not made of these."""
        return frozenset(
            (policy["resource"], grant)
            for policy in self.policies()
            for grant in members(json.loads(policy["body"]))
            if "/roles/" not in grant[0]
        )

    def without(self, permission: str, concerned: Callable[[str], bool]) -> bool:
        """Put a role without a permission in the place of each role that has it, for some members."""
        before = len(self.made)
        for policy in self.policies():
            self.grants(policy, lambda grant: [self._lessened(grant, permission) if concerned(grant[2]) else grant])
        return len(self.made) > before

    def _lessened(self, grant: Grant, permission: str) -> Grant:
        role, condition, member = grant
        held = self.sandbox.iam.permissions(role)
        if permission not in held:
            return grant
        own = f"projects/{self.settings.project_id}/roles/{role.removeprefix('roles/')}.less"
        name, permissions = role if "/roles/" in role else own, " ".join(sorted(held - {permission}))
        if not self.rows("custom_role", "name = ? AND permissions = ?", name, permissions):
            self.insert("custom_role", name=name, permissions=permissions)
        return name, condition, member

    def payload(self, change: Callable[[bytes], bytes]) -> None:
        """Change what the secret versions hold."""
        from cgrunbook.sandbox.google import payloads

        for row in self.versions():
            if row["sealed"] is not None:
                label = (row["secret"], row["number"])
                content = payloads.opened(self.settings.home, label, row["sealed"])
                self.update("secret_version", row, sealed=payloads.sealed(self.settings.home, label, change(content)))

    def trouble(self, kind: str, *names: str, value: float = 0.0) -> None:
        """Give hosts a trouble."""
        for name in names:
            self.insert("trouble", host=name, kind=kind, value=value)

    def an_hour_passes_for_tags(self) -> None:
        """Let the cached tags be older than the hour for which they are trusted."""
        for table in ("cached_tag", "cached_tag_list"):
            for row in self.rows(table):
                checked = datetime.fromisoformat(row["checked_at"])
                self.update(table, row, checked_at=timestamp(min(checked, self.now) - _AN_HOUR))

    def variables(self, **given: str) -> None:
        """Set variables in the shells that ask `cgrunbook sandbox env` from now on."""
        self.file(ENVIRONMENT_FILE, json.dumps(json.loads(self.text(ENVIRONMENT_FILE) or "{}") | given, indent=2))

    def docker_config(self, change: Callable[[dict[str, Any], list[str], str], None]) -> None:
        """Change docker's configuration.

        Args:
            change: is given the document, the addresses of the hosts that the repositories are on, and another location's.
        """
        try:
            document = json.loads(self.text(DOCKER_CONFIG) or "{}")
        except ValueError:
            raise NothingToBreak(f"{self.folder / DOCKER_CONFIG} is no JSON, which is broken enough.") from None
        places = {row["location"] for row, _ in self.remotes()}
        other = next(place for place in ("us-east1", "us-west1", "europe-west1") if place not in places)
        addresses = [self.sandbox.hosts[hosts.docker_host_name(place)] for place in (*sorted(places), other)]
        change(document, addresses[:-1], addresses[-1])
        self.file(DOCKER_CONFIG, json.dumps(document, indent="\t"))
