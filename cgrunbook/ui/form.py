"""The form in which a person says what a notebook works with: fields out of the declared parameters, and one button.

It knows widgets and the parameters' rules. It does not know where values are kept, nor what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import ipywidgets
from IPython import get_ipython

from cgrunbook import parameters
from cgrunbook.errors import ParameterError
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import redact
from cgrunbook.ui.page import asking, return_to
from cgrunbook.ui.values import Source, Value, names_in
from cgrunbook.ui.waiting import acknowledge_widgets
from cgrunbook.ui.world_lists import LISTED

# What a person decides at first; everything else is folded away until it is wanted.
_FIRST = (
    "target",
    "mode",
    "project_id",
    "location",
    "organization",
    "repository",
    "private_repository",
    "secret_id",
    "developer_images",
    "production_images",
    "confirm",
)

_LABELS = {
    "project_id": "Project",
    "organization": "Organisation",
    "repository": "Repository, public",
    "private_repository": "Repository, private",
    "secret_id": "Secret",
    "kms_key_name": "KMS key",
    "token_ttl": "Token's life",
    "wait_limit": "Longest wait, seconds",
    "confirm": "Confirm deletion",
}

# What an empty field stands for.
_EMPTY = {
    "sandbox": {"project_id": "the sandbox's own", "organization": "the sandbox's own"},
    "google-cloud": {"project_id": "the one that this machine is set to", "organization": "the only one you have"},
}

_SAID = {
    Source.GIVEN: "given from outside",
    Source.CELL: "from the cell above",
    Source.SAVED: "as last saved",
    Source.ENVIRONMENT: "from the environment",
    Source.CREDENTIALS: "from the credentials",
    Source.GCLOUD: "from gcloud",
    Source.SANDBOX: "the sandbox's own",
    Source.DEFAULT: "default",
}

_LABEL_WIDTH = "160px"
_BELOW = f"margin:0 0 0 calc({_LABEL_WIDTH} + 8px);line-height:1.35;max-width:444px;font-size:12px;"
_QUIET = "color:var(--jp-ui-font-color2,#616161);"
# The word alone is on red: a whole sentence would be hard to read.
_ERROR = '<strong style="background:#cf222e;color:#ffffff;border-radius:3px;padding:0 6px">Error:</strong>'
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_SAID_LOUD = "color:var(--jp-ui-font-color1,#212121);"


class _Looks:
    """Layouts and styles that the fields share: each is a message to the page, and a form of its own for each adds up."""

    def __init__(self) -> None:
        self.field = ipywidgets.Layout(width="100%", margin="0 0 8px 0")
        self.shown = ipywidgets.Layout(margin="0")
        self.hidden = ipywidgets.Layout(margin="0", display="none")
        self.text = ipywidgets.HTML().style
        self._control = ipywidgets.Layout(width="100%", max_width="620px", margin="0")
        self._styles: dict[type, Any] = {}

    def control(self, kind: Any, **more: Any) -> Any:
        """A control that looks like the others of its kind."""
        made = kind(layout=self._control, style=self._styles.get(kind, {"description_width": _LABEL_WIDTH}), **more)
        self._styles[kind] = made.style
        return made


class Field:
    """One parameter: its control, what is wrong with its value, and what it is for, in this order for whoever listens."""

    def __init__(self, name: str, value: Value, changed: Callable[[str], None], looks: _Looks) -> None:
        self.name = name
        self.source, self.note = value.source, value.note
        self.touched = False
        self._hint = ""
        self._looks = looks
        self.control = _control(name, value.value, looks)
        self.control.add_class(f"cgrunbook-field-{name}")
        self.error = ipywidgets.HTML(layout=looks.hidden, style=looks.text)
        self.error.add_class(f"cgrunbook-error-{name}")
        self._help = ipywidgets.HTML(self._helping(), layout=looks.shown, style=looks.text)
        self.widget: Any = ipywidgets.VBox([self.control, self.error, self._help], layout=looks.field)
        self._changed = changed
        self.control.observe(self._on_change, names="value")

    @property
    def text(self) -> str:
        """What stands in the field."""
        return str(self.control.value)

    def read(self) -> Any:
        """The value, by the parameter's type.

        Raises:
            ParameterError: what stands there is no value of this type.
        """
        if isinstance(self.control.value, bool):
            return self.control.value
        return parameters.from_text(self.name, self.control.value.strip())

    def put(self, value: Value) -> None:
        """Let another value stand there, as if the form had begun with it."""
        self.control.unobserve(self._on_change, names="value")
        try:
            self.control.value = _shown(self.name, value.value)
        finally:
            self.control.observe(self._on_change, names="value")
        self.source, self.note, self.touched = value.source, value.note, False
        self._help.value = self._helping()

    def offer(self, options: Iterable[str], hint: str = "") -> None:
        """Offer what is there, or say why it cannot be asked for."""
        self.control.options = tuple(options)
        self._hint = hint
        self._help.value = self._helping()

    def complain(self, rule: str) -> None:
        """Say what is wrong; "" when nothing is."""
        said = f'<div role="alert" style="{_BELOW}{_SAID_LOUD}">{_ERROR} {escape(rule)}</div>' if rule else ""
        self.error.value = said
        self.error.layout = self._looks.shown if said else self._looks.hidden

    def _on_change(self, _: Any) -> None:
        if not self.touched:
            self.touched = True
            self._help.value = self._helping()
        self._changed(self.name)

    def _helping(self) -> str:
        description = str(Parameters.model_fields[self.name].description)
        more = [f"{description[0].upper()}{description[1:]}."]
        if not self.touched and self.source is not Source.DEFAULT:
            more.append(f"Here {_SAID[self.source]}{f', {self.note}' if self.note else ''}.")
        if self._hint:
            more.append(self._hint)
        return f'<div style="{_BELOW}{_QUIET}">{escape(" ".join(more))}</div>'


class Form:
    """All fields of one notebook, and the button that uses them.

    Args:
        values: by name, what the fields begin with.
        rules: what is wrong with values, by name.
        on_use: called with the values when the person has confirmed them, and only when nothing is wrong with them.
        on_target: called when the person chose another target; answers what the fields are to begin with there.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        *,
        rules: Callable[[Mapping[str, Any]], Mapping[str, str]],
        on_use: Callable[[dict[str, Any]], None],
        on_target: Callable[[str], Mapping[str, Value]] = lambda _: {},
    ) -> None:
        acknowledge_widgets(getattr(get_ipython(), "kernel", None))
        self._rules = rules
        self._on_use = on_use
        self._on_target = on_target
        self._busy = False
        names = names_in(values)
        looks = _Looks()
        self.fields = {name: Field(name, values[name], self._changed, looks) for name in names}
        self.use = ipywidgets.Button(
            description="Use these values",
            button_style="primary",
            tooltip="Save these values for every notebook, and work with them",
            layout={"width": "160px", "margin": "4px 12px 4px 0"},
        )
        self.use.add_class("cgrunbook-use")
        self.use.on_click(lambda _: self.confirm())
        self.status = ipywidgets.HTML(layout={"margin": "4px 0"})
        self.status.add_class("cgrunbook-status")
        self._aloud = ipywidgets.HTML(self._named(), layout={"height": "0", "margin": "0"})
        first = [self.fields[name].widget for name in names if name in _FIRST]
        self._folded = [name for name in names if name not in _FIRST]
        # A button, which a keyboard finds; what is folded in ipywidgets' Accordion is found by a mouse only.
        self._more = ipywidgets.ToggleButton(
            layout={"width": "auto", "align_self": "flex-start", "margin": "4px 4px 12px 0"}
        )
        self._more.add_class("cgrunbook-more")
        rest = ipywidgets.VBox([self.fields[name].widget for name in self._folded])
        self._more.observe(lambda _: self._unfold(rest), names="value")
        self._unfold(rest)
        self.widget: Any = ipywidgets.VBox(
            [
                *first,
                *([self._more, rest] if self._folded else []),
                ipywidgets.HBox([self.use, self.status]),
                self._aloud,
            ],
            layout={"padding": "6px 0 2px 4px", "max_width": "680px"},
        )
        self.widget.add_class("cgrunbook-form")
        self.wrong: dict[str, str] = {}
        self._explain_empty()
        self._validate()

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What stands in the fields, and what is wrong with it."""
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name, field in self.fields.items():
            try:
                values[name] = field.read()
            except ParameterError as error:
                wrong |= error.rules
        return values, {**self._rules(values), **wrong}

    def confirm(self) -> None:
        """What the button does. Nothing while something is wrong or the last confirmation is still being followed."""
        if not self._busy:
            values = self._validate()
            if not self.wrong:
                self._on_use(values)

    def reveal(self) -> None:
        """Bring the form into view as it is drawn: somebody has to look at it."""
        self._aloud.value = self._named(reveal=True)

    def announce(self, said: str) -> None:
        """Say something to who listens to the page and is not looking; the form is the one thing that stays."""
        self._aloud.value = f'{self._named()}<span style="{_UNSEEN}">{escape(redact(said))}</span>'

    def busy(self, said: str) -> None:
        """Take no confirmation for now, and say why."""
        self._busy = True
        self.use.disabled = True
        self.say(said)

    def ready(self, said: str, *, error: bool = False) -> None:
        """Take confirmations again, and say what came of the last; what stands in the fields is in use if it was none."""
        self._busy = False
        if not error:
            for field in self.fields.values():
                field.touched = False
        self._validate()
        self.say(said, error=error)
        if error:
            self.status.value += return_to(self._first_wrong())

    def say(self, said: str, *, error: bool = False) -> None:
        """One sentence beside the button."""
        mark = f"{_ERROR} " if error and said else ""
        style = f"line-height:1.35;font-size:12px;padding:6px 0;{_SAID_LOUD if error else _QUIET}"
        self.status.value = f'<div role="status" style="{style}">{mark}{escape(redact(said))}</div>'

    def _first_wrong(self) -> str:
        """Where the page finds what is to be corrected first; the button, where no field is wrong."""
        wrong = next((name for name in self.fields if name in self.wrong), "")
        return f".cgrunbook-field-{wrong} :is(input, select)" if wrong else ".cgrunbook-use"

    def _unfold(self, rest: Any) -> None:
        rest.layout.display = None if self._more.value else "none"
        self._more.icon = "caret-down" if self._more.value else "caret-right"
        self._more.tooltip = "Fold these settings away" if self._more.value else "Unfold what is seldom changed"

    def _named(self, *, reveal: bool = False) -> str:
        return asking("form", "What this notebook works with", reveal=reveal)

    def _changed(self, name: str) -> None:
        if name == "target":
            for other, value in self._on_target(self.fields["target"].text).items():
                if other in self.fields and other != "target" and not self.fields[other].touched:
                    self.fields[other].put(value)
            self._explain_empty()
        self._validate()

    def _explain_empty(self) -> None:
        for name, meaning in _EMPTY.get(self.fields["target"].text, {}).items():
            if name in self.fields:
                self.fields[name].control.placeholder = meaning

    def _validate(self) -> dict[str, Any]:
        """Show what is wrong, and answer what stands in the fields."""
        values, self.wrong = self.values()
        for name, field in self.fields.items():
            field.complain(self.wrong.get(name, ""))
        count = len(self.wrong)
        self.use.disabled = bool(count) or self._busy
        if not self._busy:
            alone = self.wrong.get("", "")
            if alone:
                self.say(alone, error=True)
            elif count:
                self.say(f"{count} value{'s' if count > 1 else ''} to correct first.")
            else:
                self.say("Changed, and not in use yet." if any(field.touched for field in self.fields.values()) else "")
        in_fold = sum(name in self._folded for name in self.wrong)
        title = f"More settings ({len(self._folded)})" + (f", {in_fold} to correct" if in_fold else "")
        self._more.description = title
        self._more.value |= bool(in_fold)
        return values


def label(name: str) -> str:
    """What a field is called on the page."""
    words = name.replace("_", " ")
    return _LABELS.get(name, f"{words[0].upper()}{words[1:]}")


def _control(name: str, value: Any, looks: _Looks) -> Any:
    said = {"description": label(name), "tooltip": str(Parameters.model_fields[name].description)}
    shown = _shown(name, value)
    if isinstance(shown, bool):
        return looks.control(ipywidgets.Checkbox, value=shown, **said)
    options = parameters.choices(name)
    if options:
        known = [(option or "(leave as it is)", option) for option in options]
        if shown not in options:
            known.append((shown, shown))
        return looks.control(ipywidgets.Dropdown, options=known, value=shown, **said)
    return looks.control(ipywidgets.Combobox if name in LISTED else ipywidgets.Text, value=shown, **said)


def _shown(name: str, value: Any) -> Any:
    """A value as its control has it."""
    if isinstance(value, bool) and parameters.type_name(name) == "bool":
        return value
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
