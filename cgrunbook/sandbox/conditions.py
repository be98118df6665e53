"""IAM conditions, as people write them in practice: when, and which resource.

Knows a small part of CEL; what it does not understand does not grant. Knows no policies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_TIME_CONDITION = re.compile(
    r"""^request\.time\s*(?P<operator><=|>=|<|>)\s*timestamp\(\s*["'](?P<when>[^"']+)["']\s*\)$"""
)
_NAME_CONDITION = re.compile(r"""^resource\.name\.(?P<test>startsWith|endsWith)\(\s*["'](?P<text>[^"']+)["']\s*\)$""")
_EQUAL_CONDITION = re.compile(r"""^resource\.name\s*(?P<operator>==|!=)\s*["'](?P<text>[^"']+)["']$""")


def condition_holds(condition: Mapping[str, Any] | None, resource: str, now: datetime) -> bool:
    """Evaluate the conditions that people write in practice; what is not understood does not grant.

    Args:
        condition: google.type.Expr in JSON, or None. Comparisons of request.time, tests of resource.name, joined by &&
            or by ||, are understood.
        resource: the resource asked about.
        now: the sandbox's time.
    """
    if condition is None:
        return True
    expression = str(condition.get("expression", "")).strip()
    alternatives: Sequence[str] = expression.split("||")
    return any(all(_term_holds(term.strip(), resource, now) for term in part.split("&&")) for part in alternatives)


def _term_holds(term: str, resource: str, now: datetime) -> bool:
    if (match := _TIME_CONDITION.fullmatch(term)) is not None:
        return _time_holds(match["operator"], match["when"], now)
    if (match := _NAME_CONDITION.fullmatch(term)) is not None:
        test = resource.startswith if match["test"] == "startsWith" else resource.endswith
        return bool(test(match["text"]))
    if (match := _EQUAL_CONDITION.fullmatch(term)) is not None:
        return (resource == match["text"]) is (match["operator"] == "==")
    return term == "true"


def _time_holds(operator: str, text: str, now: datetime) -> bool:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return False
    if when.tzinfo is None:
        return False
    return {"<": now < when, "<=": now <= when, ">": now > when, ">=": now >= when}[operator]
