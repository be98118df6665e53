"""What little the browser does by itself: copying to the clipboard, bringing a question into view, handing on the focus.

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

# What a person is asked is one thing with a name for who listens, and its controls keep their keys: to JupyterLab, `d d` on a
# button of an output would delete the cell, and `0 0` restart the kernel. A button that has answered can be pressed no more and
# would lose the focus to the page as a whole, where Tab begins anew: it goes to the cell, which is at work now; a
# moment later, since the whole page is styled anew for that and the answer is to be on its way by then. The element that holds
# this markup stays while its contents change, so that is what is listened to.
_BOX = """
const here = this.parentElement, box = here.closest('.cgrunbook-question, .cgrunbook-form'), { role, label } = this.dataset;
this.remove();
here.setAttribute('role', 'status');
box.tabIndex = -1;
box.setAttribute('role', role);
box.setAttribute('aria-label', label);
box.addEventListener('focusin', ({ target }) => {
  if (!target.matches('input:not([type=checkbox])')) { target.dataset.lmSuppressShortcuts = 'true'; }
});
box.addEventListener('click', ({ target }) => {
  if (!target.closest('.cgrunbook-approve, .cgrunbook-decline, .cgrunbook-approve-rest, .cgrunbook-use')) { return; }
  const cell = box.closest('.jp-Cell');
  setTimeout(() => {
    const at = document.activeElement;
    if (at === document.body || box.contains(at)) { cell?.focus({ preventScroll: true }); }
  }, 50);
});
"""

# Run All scrolls to the last cell, far from the one that waits. Whoever is typing, or is elsewhere, is left alone. The focus
# comes to the question and not to its button: a key that was meant for something else answers nothing.
_REVEAL = """
const at = document.activeElement, free = at === document.body || box.closest('.jp-NotebookPanel')?.contains(at);
if (!at.isContentEditable && !['INPUT', 'TEXTAREA', 'SELECT'].includes(at.tagName)) {
  box.closest('.jp-OutputArea')?.scrollIntoView({ block: 'nearest' });
  if (free) { box.focus({ preventScroll: true }); }
}
"""

# Where what was asked for could not be done, somebody who has not gone elsewhere meanwhile comes back to what is wrong.
_RETURN = """
const box = this.closest('.cgrunbook-question, .cgrunbook-form'), at = document.activeElement, { to } = this.dataset;
this.remove();
if (at === document.body || box?.closest('.jp-Cell')?.contains(at)) { box?.querySelector(to)?.focus(); }
"""

# ipywidgets' own ring is too pale for a light page, and none around a field.
_RING = """<style>:is(.cgrunbook-question, .cgrunbook-form):focus-visible,
:is(.cgrunbook-question, .cgrunbook-form) :is(button, input, select):focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2) !important; outline-offset: 1px; }
:is(.cgrunbook-question, .cgrunbook-form):focus-visible { outline-offset: -2px; }</style>"""

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


def asking(role: str, label: str, *, reveal: bool = False) -> str:
    """Markup for an HTML widget in the box of a question or form: names the box, and says aloud what the widget says later.

    Args:
        role: what the box is, an ARIA role.
        label: its name.
        reveal: whether it comes into view and takes the focus, once, when it is drawn.
    """
    return _RING + _when_drawn(_BOX + (_REVEAL if reveal else ""), role=role, label=label)


def return_to(selector: str) -> str:
    """Markup for an HTML widget in such a box that takes the focus back to what a selector finds in the box."""
    return _when_drawn(_RETURN, to=selector)


def click_when_drawn() -> str:
    """Markup for an HTML widget that clicks the button beside it in its box, once, when it is drawn."""
    return _when_drawn(_CLICK)


def _when_drawn(script: str, **told: str) -> str:
    # An image that cannot be one: its error is the only event that markup has of its own as it is put in. It may come before
    # ipywidgets has put what it drew on the page.
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in told.items())
    later = "if (!this.isConnected) { if (turns) { setTimeout(() => drawn.call(this, turns - 1), 50); } return; }"
    begin = f"(function drawn(turns) {{ {later} {script} }}).call(this, 99)"
    return f'<img alt="" src="data:," style="display:none"{data} onerror="{escape(begin)}">'
