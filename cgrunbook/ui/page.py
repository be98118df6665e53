"""What little the browser does by itself: copying to the clipboard, and bringing a question into view.

ipywidgets' HTML widget keeps markup as it is written, handlers included, and so no extension of JupyterLab is needed.
It knows the browser, and nothing of what is copied or asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets

from cgrunbook.redaction import redact

# navigator.clipboard is there on https and on localhost only; elsewhere the browser's older way is tried.
_COPY = """
const button = this, text = button.dataset.text, label = button.dataset.label;
const say = (said) => { button.textContent = said; setTimeout(() => { button.textContent = label; }, 2000); };
const byHand = () => {
  const area = document.createElement('textarea');
  area.value = text; document.body.append(area); area.select();
  const done = document.execCommand('copy');
  area.remove(); button.focus(); say(done ? 'Copied' : 'Could not copy');
};
if (navigator.clipboard) { navigator.clipboard.writeText(text).then(() => say('Copied'), byHand); } else { byHand(); }
"""

# Run All scrolls to the last cell, far from the one that waits. Whoever is typing somewhere is left alone.
_REVEAL = """
const typing = document.activeElement, area = this.closest('.jp-OutputArea');
this.remove();
if (area && !(typing && (typing.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(typing.tagName)))) {
  area.scrollIntoView({ block: 'nearest' });
}
"""

# The box is given its children one by one: the button may come a moment after.
_CLICK = """
const box = this.closest('.widget-box');
setTimeout(() => { box.querySelector('button').click(); this.remove(); }, 200);
"""


def copy_button(commands: Sequence[str]) -> Any:
    """A button that copies commands to the clipboard.

    ipywidgets' Button tells only the kernel, which has no clipboard.
    """
    text, label = escape(redact("\n".join(commands) + "\n")), "Copy commands"
    widget = ipywidgets.HTML(
        f'<button type="button" class="jupyter-widgets jupyter-button widget-button" style="width:auto;padding:0 12px" '
        f'title="Copy the same as shell commands" data-label="{label}" data-text="{text}" onclick="{escape(_COPY)}">'
        f"{label}</button>",
        layout={"margin": "0 0 0 12px"},
    )
    widget.add_class("cgrunbook-copy")
    return widget


def reveal() -> str:
    """Markup for an HTML widget that brings the output it stands in into view, once, when it is drawn."""
    return _when_drawn(_REVEAL)


def click_when_drawn() -> str:
    """Markup for an HTML widget that clicks the button beside it in its box, once, when it is drawn."""
    return _when_drawn(_CLICK)


def _when_drawn(script: str) -> str:
    # An image that cannot be one: its error is the only event that markup has of its own as it is put in.
    return f'<img alt="" src="data:," style="display:none" onerror="{escape(script)}">'
