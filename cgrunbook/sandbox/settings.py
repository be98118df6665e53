"""What a sandbox is started with: the one project, the organisation, the operator, and the delays.

Knows values and defaults. Knows neither where they are given nor what heeds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROJECT_ID = "cgrunbook-sandbox"
PROJECT_NUMBER = "123456789012"
#: A second project, by id and number, that requests can be charged to and that holds nothing: in it only those APIs are on
#: that every project begins with.
QUOTA_PROJECT_ID, QUOTA_PROJECT_NUMBER = "cgrunbook-quota", "210987654321"
ORGANIZATION = "example.com"
OPERATOR = "user:trainee@example.com"
#: The plans that an organisation of Chainguard's may be on, as far as they differ here.
PLANS = ("starter", "team", "other")


@dataclass(frozen=True)
class Settings:
    """What the sandbox was started with.

    Args:
        home: the state folder itself (`$CGRUNBOOK_HOME/sandbox`).
        project_id: id of the one project.
        project_number: its number, digits.
        organization: the Chainguard organisation.
        operator: principal that the operator's access token stands for, in IAM's member form.
        iam_delay: seconds until a changed IAM policy takes effect.
        agent_delay: seconds until a new service agent can be named in a policy.
        upstream: URL of a registry that stands in for https://cgr.dev, or None for the sandbox's own.
        tag_cache_seconds: how long a remote repository trusts a tag (documented: 1 hour for Docker).
        idle_seconds: after how long without a request the process ends by itself; None for never.
        validation_in_operation: whether a failed upstream validation is told in the operation instead of in the answer
            to the call. Which of the two the real service does is not known.
        chainguard_plan: the organisation's plan, which says how long a pull token may live: "starter", "team" or "other".
        ttl_clamped: whether a longer life is shortened to the plan's limit instead of refused. Which of the two Chainguard
            does is not known.
    """

    home: Path
    project_id: str = PROJECT_ID
    project_number: str = PROJECT_NUMBER
    organization: str = ORGANIZATION
    operator: str = OPERATOR
    iam_delay: float = 2.0
    agent_delay: float = 1.0
    upstream: str | None = None
    tag_cache_seconds: float = 3600.0
    idle_seconds: float | None = None
    validation_in_operation: bool = False
    chainguard_plan: str = "other"
    ttl_clamped: bool = False
