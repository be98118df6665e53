"""The form in which a person says what a notebook works with: fields out of the declared parameters, and one button.

It knows widgets and the parameters' rules. It does not know where values are kept, nor what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from html import escape
from typing import Any

import ipywidgets
from IPython import get_ipython

from cgrunbook import durations, parameters
from cgrunbook.errors import CgrunbookError, ParameterError
from cgrunbook.nearest import LOCATIONS, closest
from cgrunbook.parameters import Parameters
from cgrunbook.redaction import redact
from cgrunbook.run.context import Context
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
# What is never the same in both targets: what was written for one is not taken along to the other.
_OF_ONE_TARGET = ("project_id", "organization", "chainguard_identity", "chainguard_service_account")

# What it means to work on a target.
_MEANS = {
    "sandbox": "Plays Google Cloud and Chainguard on this machine: nothing leaves it, nothing costs, nobody else is touched.",
    "google-cloud": "The real thing: what you approve is made in {project}, where others may use it and it may cost money. "
    "Nothing is changed before you approve it.",
}

# The word alone is on red: a whole sentence would be hard to read.
_ERROR = '<strong style="background:#cf222e;color:#ffffff;border-radius:3px;padding:0 6px">Error:</strong>'
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_DOUBT = "<strong>Is that right?</strong>"
_LOUD = "color:var(--jp-ui-font-color1,#212121);"
_LINE = "line-height:1.35;font-size:12px;padding:2px 0;"


class State(Enum):
    """What the form is at, the sentence that says so, and with it what the button does."""

    WAITING = "The notebook waits for you: look at these values, then press 'Use these values'."
    """The opening cell goes on with these values."""
    CONNECTING = "Connecting ..."
    """Nothing: the values are being tried."""
    IN_USE = "In use. Change a value and press the button to use another."
    """Connect anew, and save anew."""
    CHANGED = "Changed, and not in use yet."
    """Take what stands there into use."""
    WRONG = "{count} to correct first."
    """It cannot be pressed before every value keeps its rule."""
    FAILED = "Put that right, then press 'Use these values' again."
    """Try these values again, or others."""
    INTERRUPTED = (
        "Interrupted before these values were in use. Press 'Use these values' to use them, or run this cell again."
    )
    """Begin in the place of the cell, which has ended."""


def named(name: str) -> dict[str, Any]:
    """The class by which a widget is found on the page; told as it is made, for `add_class` is another message."""
    return {"_dom_classes": (f"cgrunbook-{name}",)} if name else {}


class _Looks:
    """Layouts and styles that the fields share: each is a message to the page, and a form of its own for each adds up."""

    def __init__(self) -> None:
        self.below = ipywidgets.Layout(margin="0 0 8px 0")
        self.plain = ipywidgets.Layout(margin="0")
        self.text = ipywidgets.HTML(layout=self.plain).style
        self._control = ipywidgets.Layout(width="100%", max_width="620px", margin="0")
        self._styles: dict[type, Any] = {}

    def control(self, kind: Any, **more: Any) -> Any:
        """A control that looks like the others of its kind."""
        made = kind(layout=self._control, style=self._styles.get(kind, {"description_width": _LABEL_WIDTH}), **more)
        self._styles[kind] = made.style
        return made

    def html(self, name: str = "", value: str = "", layout: Any = None) -> Any:
        """A place for markup, with the class by which it is found on the page."""
        return ipywidgets.HTML(value, layout=layout or self.plain, style=self.text, **named(name))


class Field:
    """One parameter: its control, and below it what is wrong with the value and what it is for, in this order for whoever listens.

    Its widgets are made when somebody is to see them.
    """

    def __init__(self, name: str, value: Value, changed: Callable[[str], None], looks: _Looks) -> None:
        self.name = name
        self.source, self.note = value.source, value.note
        self.touched = False
        self.options: tuple[str, ...] = ()
        """What the services have of its kind, as far as they were asked."""
        self.meaning = ""
        """What the value means, as markup."""
        self._began = _shown(name, value.value)
        self._complaint = self._hint = ""
        self._changed = changed
        self._looks = looks

    @cached_property
    def control(self) -> Any:
        """What the value stands in."""
        control = _control(self.name, self._began, self._looks)
        control.observe(self._on_change, names="value")
        return control

    @cached_property
    def below(self) -> Any:
        """What is said of the value."""
        return self._looks.html("", self._saying(), self._looks.below)

    @property
    def value(self) -> Any:
        """What stands in the field: a truth value or a text."""
        return self.control.value if "control" in self.__dict__ else self._began

    @property
    def text(self) -> str:
        """What stands in the field, as text."""
        return str(self.value)

    def read(self) -> Any:
        """The value, by the parameter's type.

        Raises:
            ParameterError: what stands there is no value of this type.
        """
        value = self.value
        return value if isinstance(value, bool) else parameters.from_text(self.name, value.strip())

    def put(self, value: Value) -> None:
        """Let another value stand there, as if the form had begun with it."""
        self._began = _shown(self.name, value.value)
        if "control" in self.__dict__:
            self.control.unobserve(self._on_change, names="value")
            try:
                self.control.value = self._began
            finally:
                self.control.observe(self._on_change, names="value")
        self.source, self.note, self.touched = value.source, value.note, False
        self.say()

    def offer(self, options: Iterable[str], hint: str = "") -> None:
        """Offer what is there, or say why it cannot be asked for."""
        self.control.options = self.options = tuple(options)
        self._hint = hint
        self.say()

    def complain(self, rule: str, mark: str = _ERROR) -> None:
        """Say what is wrong; "" when nothing is."""
        self._complaint = f"{mark} {escape(redact(rule))}" if rule else ""
        self.say()

    def _on_change(self, _: Any) -> None:
        self.touched = True
        self._changed(self.name)

    def say(self) -> None:
        """Say below the value all that is known of it now."""
        if "below" in self.__dict__:
            self.below.value = self._saying()

    def _saying(self) -> str:
        said = f'<span role="alert">{self._complaint}</span>' if self._complaint else ""
        error = f'<div class="cgrunbook-error-{self.name}" style="{_BELOW}{_LOUD}">{said}</div>'
        return f'{error}<div style="{_BELOW}{_QUIET}">{self.meaning}{escape(redact(self.helping()))}</div>'

    def helping(self) -> str:
        """What the parameter is for, how it is written, and where this value comes from."""
        description = str(Parameters.model_fields[self.name].description)
        more = [f"{description[0].upper()}{description[1:]}."]
        if self.name in parameters.LENGTHS_OF_TIME:
            more.append(f"Written as {durations.FORM}.")
        elif parameters.type_name(self.name).startswith("list"):
            more.append("Several are separated by commas.")
        if not self.touched and self.source is not Source.DEFAULT:
            more.append(f"Here {_SAID[self.source]}{f', {self.note}' if self.note else ''}.")
        if self._hint:
            more.append(self._hint)
        return " ".join(more)


class Form:
    """All fields of one notebook, and the button that uses them.

    Args:
        values: by name, what the fields begin with.
        rules: what is wrong with values, by name.
        on_use: called with the values when the person has confirmed them, and only when nothing is wrong with them.
        on_target: called when the person chose another target; answers what the fields are to begin with there.
        on_defaults: answers what the fields of a target begin with when nothing is saved.
    """

    def __init__(
        self,
        values: Mapping[str, Value],
        *,
        rules: Callable[[Mapping[str, Any]], Mapping[str, str]],
        on_use: Callable[[dict[str, Any]], None],
        on_target: Callable[[str], Mapping[str, Value]] = lambda _: {},
        on_defaults: Callable[[str], Mapping[str, Value]] = lambda _: {},
    ) -> None:
        acknowledge_widgets(getattr(get_ipython(), "kernel", None))
        self._rules = rules
        self._on_use = on_use
        self._on_target = on_target
        self._on_defaults = on_defaults
        self._at = State.WAITING
        self._said = ""
        self._failure = ""
        self._used: dict[str, Any] | None = None
        self._stands: dict[str, Any] = {}
        self._refused: dict[str, tuple[Any, str]] = {}
        self._caller = ""
        self.wrong: dict[str, str] = {}
        self.forgets = False
        """Whether the person has gone back to the defaults, and so wants nothing kept that was saved of this target."""
        names = names_in(values)
        looks = _Looks()
        self.fields = {name: Field(name, values[name], self._changed, looks) for name in names}
        self._folded = [name for name in names if name not in _FIRST]
        # A button, which a keyboard finds; what is folded in ipywidgets' Accordion is found by a mouse only.
        self._more = ipywidgets.ToggleButton(
            icon="caret-right",
            layout={"width": "auto", "align_self": "flex-start", "margin": "4px 4px 12px 0"},
            **named("more"),
        )
        self._rest = ipywidgets.VBox(layout=ipywidgets.Layout(margin="0", display="none"))
        self._more.observe(lambda _: self._unfold(), names="value")
        button = ipywidgets.Layout(width="160px", margin="4px 12px 4px 0")
        self.use = ipywidgets.Button(
            description="Use these values",
            button_style="primary",
            tooltip="Save these values for every notebook, and work with them",
            layout=button,
            **named("use"),
        )
        self.use.on_click(lambda _: self.confirm())
        self.defaults = ipywidgets.Button(
            description="Back to the defaults",
            tooltip="Put the defaults of this target into the fields; they are used and saved when you say so",
            layout=button,
            style=self.use.style,
            **named("defaults"),
        )
        self.defaults.on_click(lambda _: self._put_defaults())
        self.status = looks.html("status")
        self.kept = looks.html("kept")
        self._aloud = looks.html("", self._named(), ipywidgets.Layout(height="0", margin="0"))
        self._explain_target()
        first = [widget for name in names if name in _FIRST for widget in self._widgets(name)]
        self.widget: Any = ipywidgets.VBox(
            [
                *first,
                *([self._more, self._rest] if self._folded else []),
                ipywidgets.HBox([self.use, self.defaults], layout=looks.plain),
                self.status,
                self.kept,
                self._aloud,
            ],
            layout={"padding": "6px 0 2px 4px", "max_width": "680px"},
            **named("form"),
        )
        self._validate()

    @property
    def state(self) -> State:
        """What it is at."""
        if self._at is State.CONNECTING:
            return self._at
        if self.wrong:
            return State.WRONG
        if self._failure:
            return State.FAILED
        return State.CHANGED if self._used is not None and self._used != self._stands else self._at

    def values(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What stands in the fields, and what is wrong with it."""
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name, field in self.fields.items():
            try:
                values[name] = field.read()
            except ParameterError as error:
                wrong |= error.rules
        return values, {**self._not_there(values), **self._rules(values), **wrong}

    def confirm(self) -> None:
        """What the button does. Nothing while something is wrong or the last confirmation is still being followed."""
        if self._at is not State.CONNECTING:
            values = self._validate()
            if not self.wrong:
                self._on_use(values)

    def reveal(self) -> None:
        """Bring the form into view as it is drawn: somebody has to look at it."""
        self._aloud.value = self._named(reveal=True)

    def announce(self, said: str) -> None:
        """Say something to who listens to the page and is not looking; the form is the one thing that stays."""
        self._aloud.value = f'{self._named()}<span style="{_UNSEEN}">{escape(redact(said))}</span>'

    def busy(self) -> None:
        """Take no confirmation for now: the values are being tried."""
        self._be(State.CONNECTING)

    def ready(self, said: str = "") -> None:
        """What stands in the fields is in use."""
        for field in self.fields.values():
            field.touched = False
        self._used, self.forgets = self.values()[0], False
        self._be(State.IN_USE, said)

    def failed(self, error: CgrunbookError) -> None:
        """What stands in the fields could not be used. What is about one value stands at its field."""
        values = self.values()[0]
        rules = error.rules if isinstance(error, ParameterError) else {}
        self._refused = {name: (values.get(name), rule) for name, rule in rules.items() if name in self.fields}
        refused = " and ".join(map(label, self._refused))
        said = f"{refused} cannot be used, see above." if refused else str(error)
        self._caller = ""  # why it cannot be called stands here now
        self._explain_target()
        self._be(State.WAITING if self._used is None else State.IN_USE, failure=said)
        self.status.value += return_to(self._first_wrong())

    def interrupted(self) -> None:
        """The cell that waited for the button has ended."""
        self._be(State.INTERRUPTED)

    def say(self, said: str) -> None:
        """Say something in the place of the state's sentence, until something is changed."""
        self._said = said
        self._validate()

    def keeps(self, saved: Sequence[str], problem: str = "") -> None:
        """Say what is saved of this target for other notebooks.

        Args:
            saved: the parameters' names.
            problem: why that cannot be read or written, a sentence.
        """
        target = self.fields["target"].text
        now = f"Saved so far: {', '.join(map(label, saved))}." if saved else "Saved so far: only the defaults."
        said = problem or f"The button saves these values for every notebook, for the target {target} alone. {now}"
        self.kept.value = f'<div style="{_LINE}{_LOUD if problem else _QUIET}">{escape(redact(said))}</div>'

    def called_as(self, caller: str, problem: str = "") -> None:
        """Say as whom the chosen target is called, or what is to be done before it can be."""
        self._caller = f"It is called as {caller}." if caller else f"It cannot be called yet. {problem}"
        self._explain_target()

    def offer(self, name: str, options: Iterable[str], hint: str) -> None:
        """Offer what is there for a field, which may show that what stands in it is not."""
        self.fields[name].offer(options, hint)
        self._validate()

    def _be(self, state: State, said: str = "", failure: str = "") -> None:
        self._at, self._said, self._failure = state, said, failure
        self._validate()

    def _widgets(self, name: str) -> tuple[Any, Any]:
        return self.fields[name].control, self.fields[name].below

    def _first_wrong(self) -> str:
        """Where the page finds what is to be corrected first; the button, where no field is wrong."""
        wrong = next((name for name in self.fields if name in self.wrong or name in self._refused), "")
        return f".cgrunbook-field-{wrong} :is(input, select)" if wrong else ".cgrunbook-use"

    def _unfold(self) -> None:
        """Show or hide what is folded away, which is made when it is first to be seen."""
        if self._more.value and not self._rest.children:
            self._rest.children = [widget for name in self._folded for widget in self._widgets(name)]
        self._rest.layout.display = None if self._more.value else "none"
        self._more.icon = "caret-down" if self._more.value else "caret-right"
        self._more.tooltip = "Fold these settings away" if self._more.value else "Unfold what is seldom changed"

    def _named(self, *, reveal: bool = False) -> str:
        return asking("form", "What this notebook works with", reveal=reveal)

    def _changed(self, name: str) -> None:
        self._said = self._failure = ""
        self._refused.pop(name, None)
        if name == "target":
            self._caller, self.forgets = "", False
            self._put(self._on_target(self.fields["target"].text), keep_what_was_written=True)
        if name in {"target", "project_id"}:
            self._explain_target()
        self._validate()

    def _put(self, values: Mapping[str, Value], *, keep_what_was_written: bool) -> None:
        for name, field in self.fields.items():
            keep = keep_what_was_written and field.touched and name not in _OF_ONE_TARGET
            if name in values and name != "target" and not keep:
                field.put(values[name])
        self._refused = {}

    def _put_defaults(self) -> None:
        if self._at is State.CONNECTING:
            return
        target = self.fields["target"].text
        self._put(self._on_defaults(target), keep_what_was_written=False)
        self.forgets, self._failure = True, ""
        self._said = (
            f"These are the defaults. Press 'Use these values' to use them and to forget what was saved for {target}."
        )
        self._explain_target()
        self._validate()

    def _explain_target(self) -> None:
        target = self.fields["target"].text
        for name, meaning in _EMPTY.get(target, {}).items():
            if name in self.fields:
                self.fields[name].control.placeholder = meaning
        if target in _MEANS:
            project = self.fields["project_id"].text if "project_id" in self.fields else ""
            means = _MEANS[target].format(project=f"project {project}" if project else "the project below")
            said = f"{Context(target).html}<div>{escape(redact(f'{means} {self._caller}'.strip()))}</div>"
            self.fields["target"].meaning = f'<div style="{_LOUD}margin:4px 0 0">{said}</div>'
            self.fields["target"].say()

    def _not_there(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What keeps its rule, and is none of what the services said that there is."""
        location, field = str(values.get("location")), self.fields.get("location")
        if field is None or not field.options or location in {*field.options, *LOCATIONS}:
            return {}
        return {"location": f"Artifact Registry has no location {location}{_question(location, field.options)}."}

    def _doubts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What may be mistyped, for all that is known here; it is asked about, and holds nobody back."""
        known: dict[str, Sequence[str]] = {"location": LOCATIONS}
        known |= {name: self.fields[name].options for name in ("project_id", "organization") if name in self.fields}
        return {
            name: f"Nothing is known here of {value}{question}."
            for name, options in known.items()
            if (value := values.get(name)) and value not in options and (question := _question(value, options))
        }

    def _validate(self) -> dict[str, Any]:
        """Show what is wrong and what the form is at, and answer what stands in the fields."""
        values, self.wrong = self.values()
        self._stands = values
        refused = {name: rule for name, (value, rule) in self._refused.items() if values.get(name) == value}
        doubts = self._doubts(values)
        for name, field in self.fields.items():
            error = self.wrong.get(name) or refused.get(name, "")
            field.complain(error or doubts.get(name, ""), _ERROR if error else _DOUBT)
        state = self.state
        self.use.disabled = state in {State.WRONG, State.CONNECTING}
        self.defaults.disabled = state is State.CONNECTING
        self._say(state)
        in_fold = [name for name in (*self.wrong, *refused) if name in self._folded]
        self._more.description = f"More settings ({len(self._folded)})" + (
            f", {len(in_fold)} to correct" if in_fold else ""
        )
        self._more.value |= bool(in_fold)
        return values

    def _say(self, state: State) -> None:
        """The state's sentence, after what was said of the last try."""
        count = len(self.wrong)
        sentence = state.value.format(count=f"{count} value{'s' if count > 1 else ''}")
        if state is State.FAILED:
            lines = [*filter(str.strip, self._failure.splitlines()), sentence]
        else:
            lines = [self._said if self._said and state is not State.WRONG else sentence]
        said = f"{_ERROR if state is State.FAILED else ''} {'<br>'.join(escape(redact(line)) for line in lines)}"
        loud = state not in {State.IN_USE, State.CONNECTING}
        self.status.value = f'<div role="status" style="{_LINE}{_LOUD if loud else _QUIET}">{said.strip()}</div>'


def label(name: str) -> str:
    """What a field is called on the page."""
    words = name.replace("_", " ")
    return _LABELS.get(name, f"{words[0].upper()}{words[1:]}")


def _question(value: str, known: Sequence[str]) -> str:
    near = closest(value, known)
    return f" (did you mean {near}?)" if near else ""


def _control(name: str, shown: str | bool, looks: _Looks) -> Any:
    said = {
        "description": label(name),
        "tooltip": str(Parameters.model_fields[name].description),
        **named(f"field-{name}"),
    }
    if isinstance(shown, bool):
        return looks.control(ipywidgets.Checkbox, value=shown, **said)
    options = parameters.choices(name)
    if options:
        known = [(option or "(leave as it is)", option) for option in options]
        if shown not in options:
            known.append((shown, shown))
        return looks.control(ipywidgets.Dropdown, options=known, value=shown, **said)
    example = parameters.example_of(name)
    placeholder = f"such as {parameters.in_form(example)}" if example is not None else ""
    kind = ipywidgets.Combobox if name in LISTED else ipywidgets.Text
    return looks.control(kind, value=shown, placeholder=placeholder, **said)


def _shown(name: str, value: Any) -> str | bool:
    """A value as its control has it."""
    if isinstance(value, bool) and parameters.type_name(name) == "bool":
        return value
    return "" if value is None else parameters.in_form(value)
