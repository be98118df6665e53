"""`make documents`: write what the documentation takes from the code. Tests hold the two in step."""

from __future__ import annotations

import re
from pathlib import Path

from cgrunbook import journal, parameters
from cgrunbook.sandbox import conformance

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(<!-- parameters: .*? -->\n).*?(<!-- /parameters -->)", re.DOTALL)

METHODS = re.compile(r"(<!-- methods: .*? -->\n).*?(<!-- /methods -->)", re.DOTALL)

if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(TABLE.sub(lambda match: match[1] + parameters.markdown_table() + match[2], readme.read_text()))
    (ROOT / "docs").mkdir(exist_ok=True)
    sandbox = ROOT / "docs" / "sandbox.md"
    sandbox.write_text(METHODS.sub(lambda match: match[1] + conformance.markdown() + match[2], sandbox.read_text()))
    (ROOT / "docs" / "record.schema.json").write_text(journal.record_schema())
