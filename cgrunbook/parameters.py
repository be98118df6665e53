"""Every parameter of the notebooks, declared once: type, default, help, rule.

The notebooks' parameter cells, the command line's `-p`, the form and the README's table all follow from here; tests
hold them to it. It knows what a value may look like, and nothing of what is done with it.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cgrunbook import durations
from cgrunbook.errors import ParameterError
from cgrunbook.image_reference import ImageReference
from cgrunbook.redaction import redact

UPSTREAM = "https://cgr.dev/"

# The longest life that any plan of Chainguard's allows a pull token: 720h Starter, 168h Team, 8760h others.
_LONGEST_TOKEN_LIFE = timedelta(hours=8760)


class Group(StrEnum):
    """Under which heading a notebook's cell has a parameter."""

    WHERE = "Where"
    NAMED = "The repositories and the secret"
    SET_UP = "How a repository is set up"
    TOKEN = "How the secret is kept, and the pull token in it"
    PROOF = "The proof, and docker"
    RUN = "This run"


class Way(Enum):
    """How a value came, which decides how another is given."""

    OPTION = "cgrunbook run -p"
    PAPERMILL = "papermill's -p, -r, -y, -f and what else injects a cell"
    CELL = "a cell"


def _text(pattern: str, rule: str, *, longest: int = 0, given: bool = False) -> AfterValidator:
    """A text that matches, or is empty unless it must be given; the rule is the sentence that the person reads."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if given and not text:
            raise ValueError("must not be empty")
        if text and not compiled.fullmatch(text):
            raise ValueError(rule)
        if longest and len(text) > longest:
            raise ValueError(f"must have at most {longest} characters, it has {len(text)}")
        return text

    return AfterValidator(check)


def _lasting(shortest: timedelta, rule: str) -> AfterValidator:
    """A duration that is not shorter, or is empty; a hundred years are the longest that Secret Manager takes."""

    def check(text: str) -> str:
        if text and durations.parse(text) < shortest:
            raise ValueError(rule)
        if text and durations.parse(text) > timedelta(days=36500):
            raise ValueError("must be at most 876000h, a hundred years")
        return text

    return AfterValidator(check)


def _upstream(text: str) -> str:
    if text.rstrip("/") != UPSTREAM.rstrip("/"):
        raise ValueError(f"must be exactly {UPSTREAM}: https, that host, and no path behind it (guide: Debugging)")
    return UPSTREAM


def _token_ttl(text: str) -> str:
    if durations.parse(text) < timedelta(minutes=1):
        raise ValueError("must be a minute at least")
    if durations.parse(text) > _LONGEST_TOKEN_LIFE:
        raise ValueError("must be at most 8760h, the longest any Chainguard plan allows (Team 168h, Starter 720h)")
    return text


def _label(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}", text):
        raise ValueError(
            f"{text!r} must be key=value, each of at most 63 lower-case letters, digits, _ and -, the key beginning with "
            "a letter"
        )
    return text


def _labels(labels: list[str]) -> list[str]:
    keys = [label.partition("=")[0] for label in labels]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"must name each key once; twice there: {', '.join(twice)}")
    if "managed-by" in keys:
        raise ValueError("must not set managed-by: cgrunbook marks with it what it made")
    if len(keys) > 63:
        raise ValueError("must have at most 63 labels; with managed-by that are the 64 that Google takes")
    return labels


def _once_each(items: list[str]) -> list[str]:
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise ValueError(f"must name each once; twice there: {', '.join(twice)}")
    return items


def _image(text: str) -> str:
    try:
        reference = ImageReference.parse(text)
    except ParameterError as error:
        raise ValueError(error.message.removesuffix(".")) from None
    return str(reference)


def _developer_image(text: str) -> str:
    if "/" not in text:
        raise ValueError(f"{text!r} must have the namespace in front, such as chainguard/{text}")
    return _image(text)


def _production_image(text: str) -> str:
    if "/" in text:
        raise ValueError(
            f"{text!r} must be the image alone, such as chainguard-base:latest; `organization` says whose it is"
        )
    return _image(f"organization/{text}").removeprefix("organization/")


def _not_empty(items: list[str]) -> list[str]:
    if not items:
        raise ValueError("must name at least one image")
    return items


_PROJECT = _text(
    r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]",
    "must be a project id (not its number or its display name): 6 to 30 lower-case letters, digits and hyphens, "
    "beginning with a letter",
)
_LOCATION = _text(
    r"[a-z]+(-[a-z]+[0-9]+)?", "must be a location of Artifact Registry, such as us-central1 or europe", given=True
)
_REGION = _text(
    r"[a-z]+-[a-z]+[0-9]+",
    "must be a region, such as us-east1: Secret Manager keeps nothing in multi-regions",
    given=True,
)
_REPOSITORY = _text(
    r"[a-z]([a-z0-9-]*[a-z0-9])?",
    "must have 1 to 63 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen",
    longest=63,
    given=True,
)
_ORGANIZATION = _text(
    r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?",
    "must be the organisation's name at cgr.dev, as in cgr.dev/NAME/chainguard-base, such as example.com",
    longest=255,
)
_SECRET = _text(r"[A-Za-z0-9_-]+", "must have only letters, digits, _ and -", longest=255, given=True)
_PLATFORM = _text(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?", "must be OS/ARCHITECTURE, such as linux/arm64", given=True)
_ONE_LINE = _text(r"[^\r\n]*", "must be one line", longest=1024)
_KMS_KEY = _text(
    r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[\w-]{1,63}/cryptoKeys/[\w-]{1,63}",
    "must be a key's full name: projects/P/locations/L/keyRings/R/cryptoKeys/K",
)
_TOPIC = _text(
    r"projects/[^/\s]+/topics/(?!goog)[A-Za-z][\w.~+%-]{2,254}",
    "must be a topic's full name, projects/P/topics/T, where T has 3 to 255 letters, digits and -_.~+%, begins with a letter "
    "and not with goog",
)
_AGE = _lasting(timedelta(seconds=1), "must be at least 1s")
_PERIOD = _lasting(timedelta(hours=1), "must be at least 1h, Secret Manager's shortest")
_Labels = Annotated[list[Annotated[str, AfterValidator(_label)]], AfterValidator(_labels)]
_DeveloperImages = Annotated[list[Annotated[str, AfterValidator(_developer_image)]], AfterValidator(_not_empty)]
_ProductionImages = Annotated[list[Annotated[str, AfterValidator(_production_image)]], AfterValidator(_not_empty)]


def _of(group: Group, default: Any, description: str, example: Any = None, **bounds: Any) -> Any:
    """A parameter: where its line stands, and what a person reads of it. Without an example the default is one."""
    example = example or default
    return Field(
        default,
        description=description,
        examples=[example] if example else [],
        json_schema_extra={"group": group},
        **bounds,
    )


class Parameters(BaseModel):
    """What a run is told. Each field is a parameter of one notebook or more; each notebook's cell lists those it takes.

    Types are bare `str`, `int`, `bool` and `list[str]`, which is what papermill reads; empty text means "not given".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    target: Literal["sandbox", "google-cloud"] = _of(Group.WHERE, "sandbox", "where to work")
    mode: Literal["apply", "plan"] = _of(Group.WHERE, "apply", "apply makes the changes, plan only lists them")
    project_id: Annotated[str, _PROJECT] = _of(
        Group.WHERE, "", "the Google Cloud project; empty takes this machine's, or the sandbox's own", "my-project"
    )
    location: Annotated[str, _LOCATION] = _of(Group.WHERE, "us-central1", "where the repositories are")
    repository: Annotated[str, _REPOSITORY] = _of(
        Group.NAMED, "chainguard-pull-through", "the remote repository for developer images"
    )
    private_repository: Annotated[str, _REPOSITORY] = _of(
        Group.NAMED,
        "chainguard-private",
        "the one for production images; the same name as repository puts both into one, readable by all",
    )
    upstream: Annotated[str, AfterValidator(_upstream)] = _of(
        Group.NAMED, UPSTREAM, "the registry behind both, always https://cgr.dev/"
    )
    organization: Annotated[str, _ORGANIZATION] = _of(
        Group.WHERE, "", "your organisation at cgr.dev; empty takes the only one you have", "example.com"
    )
    developer_images: _DeveloperImages = _of(
        Group.PROOF, ["chainguard/go:latest"], "images to prove the pull with, with their namespace"
    )
    production_images: _ProductionImages = _of(
        Group.PROOF, ["chainguard-base:latest"], "the same from your organisation, without its name"
    )
    platform: Annotated[str, _PLATFORM] = _of(Group.PROOF, "linux/amd64", "the platform whose layers are pulled")
    description: Annotated[str, _ONE_LINE] = _of(Group.SET_UP, "", "the repository's text")
    labels: _Labels = _of(
        Group.SET_UP,
        [],
        "labels for what is made, each as key, equals sign, value; managed-by is added",
        ["team=platform"],
    )
    kms_key_name: Annotated[str, _KMS_KEY] = _of(
        Group.SET_UP, "", "a customer-managed key; empty leaves encryption to Google; fixed once created"
    )
    cleanup_older_than: Annotated[str, _AGE] = _of(
        Group.SET_UP, "", "clean-up policy, deletes cached versions older than this; empty makes none", "720h"
    )
    cleanup_keep: int = _of(
        Group.SET_UP, 0, "clean-up policy, but keeps this many versions of each image; 0 makes none", ge=0, le=1000
    )
    cleanup_dry_run: bool = _of(Group.SET_UP, True, "clean-up policies only log what they would delete")
    vulnerability_scanning: Literal["", "inherited", "disabled"] = _of(
        Group.SET_UP, "", "inherited follows the project (scans cost money), disabled never scans, empty leaves it"
    )
    docker_login: Literal["auto", "credential-helper", "access-token", "none"] = _of(
        Group.PROOF,
        "auto",
        "auto names gcloud's credential helper where that has a login, else it stores a token of one hour",
    )
    docker_pull: bool = _of(Group.PROOF, False, "pull with the docker engine too, where one answers")
    secret_id: Annotated[str, _SECRET] = _of(
        Group.NAMED, "chainguard-pull-token", "the secret that holds the pull token's password"
    )
    token_ttl: Annotated[str, AfterValidator(_token_ttl)] = _of(
        Group.TOKEN, "720h", "how long the pull token lives; at most 168h on Team, 720h on Starter, 8760h elsewhere"
    )
    secret_locations: Annotated[list[Annotated[str, _REGION]], AfterValidator(_once_each)] = _of(
        Group.TOKEN, [], "where the secret is kept; empty lets Google choose; fixed once created", ["us-east1"]
    )
    secret_expires_after: Annotated[str, _PERIOD] = _of(
        Group.TOKEN, "", "deletes the secret and so breaks pulls after this time; empty never", "8760h"
    )
    rotation_topic: Annotated[str, _TOPIC] = _of(
        Group.TOKEN, "", "Pub/Sub topic that is told when the token is due; needs rotation_period"
    )
    rotation_period: Annotated[str, _PERIOD] = _of(
        Group.TOKEN, "", "how often the topic is told; a notice only, 05_rotate_pull_token does it", "600h"
    )
    try_fresh_repository: bool = _of(
        Group.RUN, False, "debugging makes a second repository with the same settings, tries it, removes it"
    )
    wait_limit: int = _of(
        Group.RUN, 600, "seconds to wait for what is known to pass, such as IAM's propagation", ge=1, le=7200
    )
    confirm: str = _of(Group.RUN, "", "teardown deletes only when this is the value of repository")

    @model_validator(mode="after")
    def _belong_together(self) -> Parameters:
        if bool(self.rotation_topic) != bool(self.rotation_period):
            missing = "rotation_topic" if not self.rotation_topic else "rotation_period"
            raise ValueError(f"{missing} is missing: a notice needs both rotation_topic and rotation_period")
        key = self.kms_key_name.split("/")
        if self.kms_key_name and key[3] != self.location:
            raise ValueError(
                f"kms_key_name is a key in {key[3]}, and location is {self.location}: Artifact Registry takes only keys of "
                "the repository's own location"
            )
        return self


NAMES = tuple(Parameters.model_fields)


def _type(name: str) -> type:
    """The bare type of a parameter: str, int, bool or list."""
    return type(Parameters.model_fields[name].default)


def type_name(name: str) -> str:
    """How the type of a parameter is written in a notebook's cell: `str`, `int`, `bool` or `list[str]`."""
    return "list[str]" if _type(name) is list else _type(name).__name__


# What people call a parameter that this package calls otherwise, and the spelling does not tell.
_ALSO_CALLED = {
    **dict.fromkeys(("region", "zone", "loc"), "location"),
    **dict.fromkeys(("org", "orgname"), "organization"),
    **dict.fromkeys(("dryrun", "plan", "planonly", "apply"), "mode"),
    **dict.fromkeys(("gcpproject", "googlecloudproject", "projectnumber"), "project_id"),
    **dict.fromkeys(("repo", "reponame"), "repository"),
    "images": "developer_images",
    "secretname": "secret_id",
    "kmskey": "kms_key_name",
    "ttl": "token_ttl",
}

# Names that papermill itself puts into a notebook (--inject-paths and its like); they are meant for nobody.
_OF_PAPERMILL = frozenset({"PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH"})


def meant(name: str, among: Collection[str] = NAMES, *, cutoff: float = 0.5) -> str:
    """The parameter that somebody has most likely meant by a name that is none, in any case and with dashes; "" for none.

    Args:
        name: what was written.
        among: the names that would be right; where none of these is like it, all parameters are looked at.
        cutoff: how much it must be like it, up to 1.
    """
    spelt = {_bare(each): each for each in (*NAMES, *among)}
    bare, sure = _bare(name), max(cutoff, 0.8)

    def near(names: Collection[str], cutoff: float) -> str:
        found = difflib.get_close_matches(bare, map(_bare, names), n=1, cutoff=cutoff)
        return spelt[found[0]] if found else ""

    return near(among, sure) or near(NAMES, sure) or _ALSO_CALLED.get(bare, "") or near(among, cutoff)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def unknown(name: str, among: Collection[str] = NAMES, remedy: str = "") -> ParameterError:
    """The error for a name that is no parameter, with the one that was meant.

    Args:
        name: what was given.
        among: the names that would have been right.
        remedy: how that is put right where it came from.
    """
    near = meant(name, among)
    hint = f"Did you mean {near!r}?" if near else f"The parameters are: {', '.join(among)}."
    if near and near not in among:
        hint += " It is a parameter of other notebooks of the guide, not of this one."
    return ParameterError(f"There is no parameter {redact(name)!r} here. {hint}", remedy)


def mistyped(namespace: Mapping[str, Any], given: Collection[str] = (), passing: Collection[str] = ()) -> list[str]:
    """The names in a notebook that were meant to be parameters and are none.

    Args:
        namespace: the notebook's globals.
        given: names that came from outside the notebook: whatever is no parameter among these was meant to be one.
        passing: names that are set in passing, by loops, and so mean nothing.
    """
    plain = (str, bool, int, float, list, tuple, set, dict, type(None))
    return [
        name
        for name, value in namespace.items()
        if name not in NAMES
        and name not in _OF_PAPERMILL
        and (
            name in given
            or (type(value) in plain and not name.startswith("_") and name not in passing and meant(name, cutoff=0.8))
        )
    ]


def not_used(names: Sequence[str], notebooks: Sequence[str]) -> str:
    """What is said of parameters that are given to notebooks which do not take them, though others of the guide do."""
    what = f"{names[0]} is no parameter" if len(names) == 1 else f"{', '.join(names)} are no parameters"
    return f"Not used: {what} of {', '.join(notebooks)}, only of other notebooks of the guide."


def from_text(name: str, text: str) -> Any:
    """Read a value as the command line gives it, by the type that the parameter has; nothing is guessed from its looks.

    Args:
        name: the parameter.
        text: the value; a list is given as `a,b` or as JSON.

    Returns:
        A str, int, bool or list of str.

    Raises:
        ParameterError: no such parameter, or the text is no value of its type.
    """
    if name not in NAMES:
        raise unknown(name)
    kind = _type(name)
    if kind is bool:
        if text.lower() not in {"true", "false"}:
            raise _refused(name, text, "must be true or false")
        return text.lower() == "true"
    if kind is int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise _refused(name, text, "must be a whole number")
        return int(text)
    if kind is list:
        return _list_from_text(name, text)
    return text


def as_text(value: Any) -> str:
    """A value as the command line takes it; `from_text` reads it again."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, (bool, int)) else str(value)


def _list_from_text(name: str, text: str) -> list[str]:
    if not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        items = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _refused(name, text, f"begins like a JSON list and is none ({error})") from error
    if not isinstance(items, list):
        raise _refused(name, text, "must be a list")
    return items


def _refused(name: str, text: str, rule: str) -> ParameterError:
    return ParameterError(
        f"{name} is {redact(text)!r}: {rule}", how_to_give(name, Way.OPTION), rules={name: f"{rule}."}
    )


def how_to_give(name: str, way: Way) -> str:
    """How a value is given, in the words of the way that another one came."""
    examples = Parameters.model_fields[name].examples
    example = examples[0] if examples else {bool: True, int: 1}.get(_type(name), "TEXT")
    if way is Way.CELL:
        return f"Write it in a cell before the opening one as: {name} = {json.dumps(example)}".replace(
            " = true", " = True"
        )
    kind, text = _type(name), as_text(example)
    if way is Way.OPTION:
        return f"Give it as: -p {name} {shlex.quote(text)}"
    in_cell = f"in the injected cell as: {name} = {example!r}"
    if kind is list:
        return f"Give papermill -y {shlex.quote(f'{name}: {json.dumps(example)}')}, for its -p and -r take no lists; {in_cell}"
    if kind is str:
        return (
            f"Give papermill -r {name} {shlex.quote(text)}, for its -p makes a number or a truth value of what looks like "
            f"one, and so does YAML without quotes; {in_cell}"
        )
    return f"Give papermill -p {name} {text}; {in_cell}"


def check(
    values: Mapping[str, Any], *, among: Collection[str] = NAMES, way: Callable[[str], Way] | None = None
) -> Parameters:
    """Hold values against the rules, all of them, before anything is called.

    Args:
        values: by name; what is not named takes its default.
        among: the names that may be given here (a notebook takes some of all).
        way: how the value of a name came, for the advice; None gives none.

    Returns:
        The parameters.

    Raises:
        ParameterError: the message lists each value that breaks its rule, with the rule and an example; so do its `rules`.
    """
    for name in values:
        if name not in among:
            raise unknown(name, among)
    try:
        return Parameters(**values)
    except ValidationError as error:
        said: list[str] = []
        rules: dict[str, str] = {}
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else ""
            rule = _rule(name, problem, values.get(name))
            said.append(f"{name} is {shown(values.get(name))}: {rule}" if name else rule)
            rules.setdefault(name, rule)
        remedy = "\n".join(how_to_give(name, way(name)) for name in rules if name and way)
        raise ParameterError("\n".join(said), remedy, rules=rules) from None


def same(name: str, value: Any, used: Any) -> bool:
    """Whether a value is the one that is in use, or means the same in other words, such as an image without its tag."""
    return bool(value == used or _as_used(name, value) == used)


def allowed(name: str, value: Any) -> bool:
    """Whether a parameter may have a value."""
    return _as_used(name, value) is not None


def _as_used(name: str, value: Any) -> Any:
    """What is made of a value; None where it breaks the rule."""
    try:
        given = {name: list(value) if isinstance(value, tuple) else value}
        return getattr(Parameters.model_validate(given), name)
    except ValidationError as error:
        # What a value must be together with others says nothing of it alone.
        return None if any(problem["loc"] for problem in error.errors()) else value


def shown(value: Any) -> str:
    """A value as a sentence has it: as Python writes it, redacted, and not too long."""
    text = redact(repr(value))
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text)} characters)"


# pydantic's own words for a bound, in the house's.
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}


def _rule(name: str, problem: Any, given: Any) -> str:
    rule = str(problem["ctx"]["error"] if problem["type"] == "value_error" else problem["msg"])
    if not name:
        return f"{rule}."
    if problem["type"].endswith("_type") and not isinstance(given, _type(name)):
        rule = f"must be {type_name(name)}, not {type(given).__name__}"
    elif problem["type"] in _BOUNDS:
        words, bound = _BOUNDS[problem["type"]]
        rule = f"must be {words} {problem['ctx'][bound]}"
    elif problem["type"] == "literal_error":
        rule = f"must be {problem['ctx']['expected']}"
        if near := difflib.get_close_matches(str(given), choices(name), n=1):
            rule += f" (did you mean {near[0]!r}?)"
    if isinstance(given, str) and given != given.strip():
        rule += "; there is white space around it"
    elif isinstance(given, str) and given[:1] == given[-1:] and given[:1] in {"'", '"'}:
        rule += "; it has quotes that belong to it: give it without"
    examples = Parameters.model_fields[name].examples
    example = f" Example: {examples[0]!r}." if examples else ""
    return f"{rule}.{example}"


def choices(name: str) -> tuple[str, ...]:
    """The values that a parameter may have where there are but a few, otherwise nothing."""
    annotation = Parameters.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
