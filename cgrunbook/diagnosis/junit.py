"""A diagnosis as JUnit's XML, which every CI shows: a case a check; what is suppressed or could not be seen is skipped.

It knows that form, and nothing else.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from cgrunbook.diagnosis.codes import CHECKS
from cgrunbook.diagnosis.doctor import Diagnosis
from cgrunbook.diagnosis.verdict import Looked
from cgrunbook.steps.step import Mark

_NO_XML = {number: "?" for number in range(32) if number not in (9, 10, 13)}


def junit(found: Diagnosis) -> str:
    """The document."""
    suite = ET.Element(
        "testsuite",
        name="cgrunbook doctor",
        tests=str(len(found.looked) + len(found.suppressed)),
        failures=str(sum(one.finding.mark in (Mark.FAIL, Mark.WARN) for one in found.looked)),
        errors="0",
        skipped=str(sum(one.finding.mark is Mark.NOT_CHECKED for one in found.looked) + len(found.suppressed)),
        time=f"{found.seconds:.2f}",
        timestamp=found.at.isoformat(timespec="seconds"),
    )
    for one in found.looked:
        case, finding = _case(suite, one), one.finding
        if finding.mark in (Mark.FAIL, Mark.WARN):
            failure = ET.SubElement(
                case, "failure", type=f"{finding.code}/{finding.reason}", message=_plain(finding.seen)
            )
            failure.text = _plain(finding.remedy)
        elif finding.mark is Mark.NOT_CHECKED:
            ET.SubElement(case, "skipped", message=_plain(f"not checked: {finding.seen}"))
    for one in found.suppressed:
        ET.SubElement(_case(suite, one), "skipped", message=_plain(f"suppressed: {one.finding.seen}"))
    out = ET.SubElement(suite, "system-out")
    out.text = _plain(found.verdict.text)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _case(suite: ET.Element, one: Looked) -> ET.Element:
    name = f"{one.finding.code} {one.finding.resource or one.way}".strip()
    where = CHECKS[one.code].hop.value
    return ET.SubElement(suite, "testcase", classname=where, name=_plain(name), time=f"{one.seconds:.2f}")


def _plain(text: str) -> str:
    """A text without what XML cannot hold."""
    return text.translate(_NO_XML)
