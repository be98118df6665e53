"""Where a run works, and as whom: the bar that stands on whatever asks for a decision or says what came of one.

It knows how that is said, as HTML and as text, and not where it comes from. The sandbox and Google Cloud differ by word,
shape and colour. The styles are inline and literal: all that JupyterLab leaves of a notebook that it does not trust.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from cgrunbook.cloud.caller import spoken

# By target: the word, its glyph, the line below all of it, and what the word stands on. The sandbox's is hollow and
# dashed, the ink is the page's; Google Cloud's is filled, solid and double as strong.
_LOOKS = {
    "sandbox": ("SANDBOX", "◇", "1px dashed #0f8a83", "border:1px dashed #0f8a83"),
    "google-cloud": ("GOOGLE CLOUD", "◆", "2px solid #c2185b", "background:#c2185b;color:#ffffff"),
}


@dataclass(frozen=True)
class Context:
    """Where, and as whom.

    Args:
        target: "sandbox" or "google-cloud".
        project_id: what is not known, as this and those below, is "" and left out.
        location: such as "us-central1".
        organization: the Chainguard organisation.
        caller: as whom the target's services are called, an IAM member; the sandbox's own there.
    """

    target: str
    project_id: str = ""
    location: str = ""
    organization: str = ""
    caller: str = ""

    @classmethod
    def of(cls, target: Mapping[str, str], caller: str = "") -> Context:
        """The context of a session or a record, which have a target by the names of the parameters that say it."""
        project_id, location, organization = (
            target.get(name, "") for name in ("project_id", "location", "organization")
        )
        return cls(target.get("target", ""), project_id, location, organization, caller)

    @property
    def real(self) -> bool:
        """Whether what is done there is done to something that others use and pay for."""
        return self.target != "sandbox"

    @property
    def text(self) -> str:
        """One line, such as `◆ GOOGLE CLOUD: project my-project, in us-central1, as ada@example.com`."""
        word, glyph, *_ = _LOOKS[self.target]
        said = ", ".join(f"{label} {value}" for label, value in self._parts())
        return f"{glyph} {word}: {said}" if said else f"{glyph} {word}"

    @property
    def html(self) -> str:
        """The same as one line of running text, which breaks where a page is narrow."""
        word, glyph, line, badge = _LOOKS[self.target]
        said = "".join(
            f' <span style="opacity:0.75">{label}</span> <strong style="font-weight:600;margin:0 8px 0 0">{escape(value)}</strong>'
            for label, value in self._parts()
        )
        return (
            f'<div class="cgrunbook-context" style="border-bottom:{line};padding:0 0 4px;margin:0 0 8px;'
            f'font-size:12px;line-height:1.6;overflow-wrap:break-word"><strong style="{badge};border-radius:3px;'
            f'padding:0 6px;margin:0 8px 0 0;white-space:nowrap">{glyph} {word}</strong>{said}</div>'
        )

    def by_hand(self, commands: Sequence[str], cgrunbook: str = "cgrunbook") -> str:
        """Commands as they are put into a shell.

        Those of a Google Cloud project name it themselves. Those of the sandbox run there or not at all: a shell that
        does not know it would send them to Google. So they are one command, of a shell of its own, that ends where the
        sandbox is not to be had; without a comment, which an interactive zsh takes for a command.

        Args:
            cgrunbook: how cgrunbook is called where they are put.
        """
        lines = "\n".join(commands)
        if self.real:
            return lines
        return f'(set -e; sandbox=$({cgrunbook} sandbox env) || exit 1; eval "$sandbox"\n{lines}\n)'

    def _parts(self) -> Iterator[tuple[str, str]]:
        parts = {
            "project": self.project_id,
            "in": self.location,
            "organisation": self.organization,
            "as": spoken(self.caller) if self.caller else "",
        }
        return ((label, value) for label, value in parts.items() if value)
