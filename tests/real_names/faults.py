"""What can go wrong with one request, and which requests it happens to; both sides of the namespace know these."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One misfortune of some requests.

    Args:
        host: whose requests, a regular expression for the whole name.
        method: a regular expression.
        path: a regular expression, searched for.
        skip: so many of them go well first.
        times: so many of them it happens to.
        wait: seconds before the request is looked at.
        status: the answer's, in the place of the real one; 0 for none.
        headers: of that answer.
        body: of that answer.
        reset: the connection ends before the request arrives where it should.
        lose: the request arrives, and the connection ends before its answer.
        cut: after so many bytes of the body the connection ends; -1 for never.
        trickle: seconds between two pieces of the body, of 4 KiB each.
    """

    host: str = ".*"
    method: str = ".*"
    path: str = ""
    skip: int = 0
    times: int = 1
    wait: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    reset: bool = False
    lose: bool = False
    cut: int = -1
    trickle: float = 0.0

    def happens(self, host: str, method: str, target: str) -> bool:
        """Whether it happens to this request; each call counts."""
        if self.times <= 0 or not (
            re.fullmatch(self.host, host) and re.fullmatch(self.method, method) and re.search(self.path, target)
        ):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class Weather:
    """What every request meets.

    Args:
        delay: seconds a request.
        connect: seconds a connection, on top.
        lifetime: seconds that a new access token lives.
        certificates: of a host that shows another than the good one: "expired", or "another name".
        metadata: what listens at the metadata server's address: "absent" refuses, "silent" never answers, "there" is a
            machine at Google.
        faults: the first that fits happens.
    """

    delay: float = 0.0
    connect: float = 0.0
    lifetime: float = 3599.0
    certificates: dict[str, str] = field(default_factory=dict)
    metadata: str = "absent"
    faults: list[Fault] = field(default_factory=list)
