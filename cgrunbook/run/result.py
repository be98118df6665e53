"""What came of one performed step: for the face that shows it, and as the journal keeps it. It knows no step of the guide."""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cgrunbook.errors import CgrunbookError, PrerequisiteMissing, StepFailed
from cgrunbook.redaction import redact
from cgrunbook.steps.step import Evidence, Finding, Mark, Outcome, Plan, Step, counted


@dataclass(frozen=True)
class Result:
    """What came of one performed step.

    Args:
        number: the step's place in the notebook, from 1.
        plan: what it found to do.
        evidence: what was read back.
        error: why it failed, or None.
        cause: what the error was made from, where that is not known to anybody yet.
        seconds: how long it took, without the time that somebody took to approve.
        waited: seconds of these that were waits for something known to pass.
    """

    number: int
    step: Step
    outcome: Outcome
    plan: Plan = field(default_factory=Plan)
    evidence: Evidence = field(default_factory=Evidence)
    error: CgrunbookError | None = None
    seconds: float = 0.0
    waited: float = 0.0
    cause: BaseException | None = None

    @property
    def brief(self) -> str:
        """One line that says it."""
        if self.error:
            return self.error.message.splitlines()[0]
        if self.outcome is not Outcome.PLANNED:
            return self.evidence.in_brief
        if self.evidence.findings:
            return f"{self.evidence.in_brief}; to be looked at again when the changes are made"
        count = len(self.plan.changes)
        held_back = ", held back" if self.step.held_back else ""
        return f"{counted(count, 'change')}{held_back}" if count else "a proof, made when the changes are"

    def as_journaled(self) -> dict[str, Any]:
        """What the journal's line of it holds."""
        from cgrunbook.run.record import ErrorRecord, FindingRecord  # what a notebook's opening need not wait for

        data: dict[str, Any] = {
            "outcome": self.outcome.value,
            "brief": self.brief,
            "evidence": dict(self.evidence.facts),
            "measured": list(self.evidence.measured),
            "findings": [
                FindingRecord.model_validate(finding, from_attributes=True).model_dump()
                for finding in self.evidence.findings
            ],
            "seconds": round(self.seconds, 3),
            "held_back": self.step.held_back if self.outcome is Outcome.PLANNED else "",
        }
        if self.error:
            data["error"] = ErrorRecord.of(self.error).model_dump()
        if self.cause:
            data["traceback"] = redact("".join(traceback.format_exception(self.cause)))
        return data


def plan_as_journaled(plan: Plan) -> dict[str, Any]:
    """What the journal's line of a plan holds."""
    notes = (*plan.lost, *plan.notes)
    # Nothing has come of it yet.
    return {
        name: value for name, value in asdict(replace(plan, notes=notes)).items() if name not in ("outcome", "lost")
    }


def failure_of(findings: tuple[Finding, ...]) -> CgrunbookError | None:
    """The error that failed checks amount to, or None when none failed."""
    failed = [finding for finding in findings if finding.mark is Mark.FAIL]
    if not failed:
        return None
    message = "\n".join(f"{finding.check}: {finding.seen}" for finding in failed)
    remedy = "\n".join(dict.fromkeys(finding.remedy for finding in failed if finding.remedy))
    kind = PrerequisiteMissing if all(finding.prerequisite for finding in failed) else StepFailed
    return kind(message, remedy)
