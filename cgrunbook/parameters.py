"""Every parameter of the notebooks, declared once: type, default, help, rule.

The notebooks' parameter cells, the command line's `-p`, the form and the README's table all follow from here; tests
hold them to it. It knows what a value may look like, and nothing of what is done with it.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cgrunbook import durations
from cgrunbook.errors import ParameterError
from cgrunbook.image_reference import ImageReference
from cgrunbook.redaction import redact

UPSTREAM = "https://cgr.dev/"

# The longest life that any plan of Chainguard's allows a pull token (facts: 720h Starter, 168h Team, 8760h others).
LONGEST_TOKEN_LIFE = timedelta(hours=8760)


def _form(pattern: str, rule: str, *, longest: int = 0) -> Callable[[str], str]:
    """A validator: the text is empty or matches; the rule is the sentence that the person reads."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if text and not compiled.fullmatch(text):
            raise ValueError(rule)
        if longest and len(text) > longest:
            raise ValueError(f"must have at most {longest} characters, it has {len(text)}")
        return text

    return check


def _given(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _upstream(text: str) -> str:
    if text.rstrip("/") != UPSTREAM.rstrip("/"):
        raise ValueError(f"must be exactly {UPSTREAM}: https, that host, and no path behind it (guide: Debugging)")
    return UPSTREAM


def _token_ttl(text: str) -> str:
    if durations.parse(text) < timedelta(minutes=1):
        raise ValueError("must be a minute at least")
    if durations.parse(text) > LONGEST_TOKEN_LIFE:
        raise ValueError("must be at most 8760h, the longest any Chainguard plan allows (Team 168h, Starter 720h)")
    return text


def _period(text: str) -> str:
    if text and durations.parse(text) < timedelta(hours=1):
        raise ValueError("must be at least 1h, Secret Manager's shortest")
    return text


def _age(text: str) -> str:
    if text and durations.parse(text) < timedelta(seconds=1):
        raise ValueError("must be at least 1s")
    return text


def _label(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
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
    return labels


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


_REPOSITORY_RULE = (
    "must have 1 to 63 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen"
)
_ProjectId = Annotated[
    str,
    AfterValidator(
        _form(
            r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]",
            "must be a project id (not its number or its display name): 6 to 30 lower-case letters, digits and hyphens, "
            "beginning with a letter",
        )
    ),
]
_Location = Annotated[
    str,
    AfterValidator(_given),
    AfterValidator(
        _form(r"[a-z]+(-[a-z]+[0-9]+)?", "must be a location of Artifact Registry, such as us-central1 or europe")
    ),
]
_Repository = Annotated[
    str,
    AfterValidator(_given),
    AfterValidator(_form(r"[a-z]([a-z0-9-]*[a-z0-9])?", _REPOSITORY_RULE, longest=63)),
]
_Organization = Annotated[
    str,
    AfterValidator(
        _form(
            r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?",
            "must be the organisation's name at cgr.dev, as in cgr.dev/NAME/chainguard-base, such as example.com",
            longest=255,
        )
    ),
]
_SecretId = Annotated[
    str,
    AfterValidator(_given),
    AfterValidator(_form(r"[A-Za-z0-9_-]+", "must have only letters, digits, _ and -", longest=255)),
]
_Platform = Annotated[
    str,
    AfterValidator(_given),
    AfterValidator(_form(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?", "must be OS/ARCHITECTURE, such as linux/arm64")),
]
_KmsKey = Annotated[
    str,
    AfterValidator(
        _form(
            r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+",
            "must be a key's full name: projects/P/locations/L/keyRings/R/cryptoKeys/K",
        )
    ),
]
_Topic = Annotated[
    str,
    AfterValidator(_form(r"projects/[^/]+/topics/[^/]+", "must be a topic's full name: projects/P/topics/T")),
]


class Parameters(BaseModel):
    """What a run is told. Each field is a parameter of one notebook or more; each notebook's cell lists those it takes.

    Types are bare `str`, `int`, `bool` and `list[str]`, which is what papermill reads; empty text means "not given".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    target: Annotated[Literal["sandbox", "google-cloud"], Field(description="where to work")] = "sandbox"
    mode: Annotated[Literal["apply", "plan"], Field(description="apply makes the changes, plan only lists them")] = (
        "apply"
    )
    project_id: Annotated[
        _ProjectId,
        Field(
            description="the Google Cloud project; empty takes gcloud's, or the sandbox's own", examples=["my-project"]
        ),
    ] = ""
    location: Annotated[
        _Location, Field(description="where the repositories are", examples=["us-central1", "europe-west1", "us"])
    ] = "us-central1"
    repository: Annotated[
        _Repository,
        Field(description="the remote repository for developer images", examples=["chainguard-pull-through"]),
    ] = "chainguard-pull-through"
    private_repository: Annotated[
        _Repository,
        Field(
            description="the one for production images; the same name as repository puts both into one, readable by all",
            examples=["chainguard-private"],
        ),
    ] = "chainguard-private"
    upstream: Annotated[
        str, AfterValidator(_upstream), Field(description="the registry behind both, always https://cgr.dev/")
    ] = UPSTREAM
    organization: Annotated[
        _Organization,
        Field(description="your organisation at cgr.dev; empty takes the only one you have", examples=["example.com"]),
    ] = ""
    developer_images: Annotated[
        list[Annotated[str, AfterValidator(_developer_image)]],
        AfterValidator(_not_empty),
        Field(description="images to prove the pull with, with their namespace", examples=[["chainguard/go:latest"]]),
    ] = ["chainguard/go:latest"]
    production_images: Annotated[
        list[Annotated[str, AfterValidator(_production_image)]],
        AfterValidator(_not_empty),
        Field(description="the same from your organisation, without its name", examples=[["chainguard-base:latest"]]),
    ] = ["chainguard-base:latest"]
    platform: Annotated[
        _Platform, Field(description="the platform whose layers are pulled", examples=["linux/amd64", "linux/arm64"])
    ] = "linux/amd64"
    description: Annotated[
        str,
        AfterValidator(_form(r"[^\r\n]*", "must be one line", longest=1024)),
        Field(description="the repository's text"),
    ] = ""
    labels: Annotated[
        list[Annotated[str, AfterValidator(_label)]],
        AfterValidator(_labels),
        Field(
            description="labels for what is made, each as key, equals sign, value; managed-by is added",
            examples=[["team=platform"]],
        ),
    ] = []
    kms_key_name: Annotated[
        _KmsKey, Field(description="a customer-managed key; empty leaves encryption to Google; fixed once created")
    ] = ""
    cleanup_older_than: Annotated[
        str,
        AfterValidator(_age),
        Field(
            description="clean-up policy, deletes cached versions older than this; empty makes none", examples=["720h"]
        ),
    ] = ""
    cleanup_keep: Annotated[
        int,
        Field(ge=0, le=1000, description="clean-up policy, but keeps this many versions of each image; 0 makes none"),
    ] = 0
    cleanup_dry_run: Annotated[bool, Field(description="clean-up policies only log what they would delete")] = True
    vulnerability_scanning: Annotated[
        Literal["", "inherited", "disabled"],
        Field(description="inherited follows the project (scans cost money), disabled never scans, empty leaves it"),
    ] = ""
    docker_login: Annotated[
        Literal["auto", "credential-helper", "access-token", "none"],
        Field(description="auto writes gcloud's credential helper, or a token of one hour where gcloud is absent"),
    ] = "auto"
    docker_pull: Annotated[bool, Field(description="pull with the docker engine too, where one answers")] = False
    secret_id: Annotated[
        _SecretId,
        Field(description="the secret that holds the pull token's password", examples=["chainguard-pull-token"]),
    ] = "chainguard-pull-token"
    token_ttl: Annotated[
        str,
        AfterValidator(_token_ttl),
        Field(description="how long the pull token lives; at most 168h on Team, 720h on Starter, 8760h elsewhere"),
    ] = "720h"
    secret_locations: Annotated[
        list[_Location],
        Field(
            description="where the secret is kept; empty lets Google choose; fixed once created",
            examples=[["us-east1"]],
        ),
    ] = []
    secret_expires_after: Annotated[
        str,
        AfterValidator(_period),
        Field(description="deletes the secret and so breaks pulls after this time; empty never", examples=["8760h"]),
    ] = ""
    rotation_topic: Annotated[
        _Topic, Field(description="Pub/Sub topic that is told when the token is due; needs rotation_period")
    ] = ""
    rotation_period: Annotated[
        str,
        AfterValidator(_period),
        Field(
            description="how often the topic is told; a notice only, 05_rotate_pull_token does it", examples=["600h"]
        ),
    ] = ""
    try_fresh_repository: Annotated[
        bool, Field(description="debugging makes a second repository with the same settings, tries it, removes it")
    ] = False
    wait_limit: Annotated[
        int, Field(ge=1, le=7200, description="seconds to wait for what is known to pass, such as IAM's propagation")
    ] = 600
    confirm: Annotated[str, Field(description="teardown deletes only when this is the value of repository")] = ""

    @model_validator(mode="after")
    def _belong_together(self) -> Parameters:
        if bool(self.rotation_topic) != bool(self.rotation_period):
            missing = "rotation_topic" if not self.rotation_topic else "rotation_period"
            raise ValueError(f"{missing} is missing: a notice needs both rotation_topic and rotation_period")
        return self

    def label_map(self) -> dict[str, str]:
        """The labels as a mapping, without the one that cgrunbook adds."""
        return dict(label.split("=", 1) for label in self.labels)


NAMES = tuple(Parameters.model_fields)


def _type(name: str) -> type:
    """The bare type of a parameter: str, int, bool or list."""
    annotation: Any = Parameters.model_fields[name].annotation
    if get_origin(annotation) is Literal:
        return str
    origin = get_origin(annotation) or annotation
    return origin if isinstance(origin, type) else str


def type_name(name: str) -> str:
    """How the type of a parameter is written in a notebook's cell: `str`, `int`, `bool` or `list[str]`."""
    return "list[str]" if _type(name) is list else _type(name).__name__


def unknown(name: str, among: Iterable[str] = NAMES) -> ParameterError:
    """The error for a name that is no parameter, with the nearest one that is.

    Args:
        name: what was given.
        among: the names that would have been right.
    """
    known = list(among)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"The parameters are: {', '.join(known)}."
    return ParameterError(f"There is no parameter {redact(name)!r} here. {hint}")


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
            raise ParameterError(f"{name} is {redact(text)!r}: must be true or false")
        return text.lower() == "true"
    if kind is int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ParameterError(f"{name} is {redact(text)!r}: must be a whole number")
        return int(text)
    if kind is list:
        return _list_from_text(name, text)
    return text


def _list_from_text(name: str, text: str) -> list[str]:
    if not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise ParameterError(f"{name} is {redact(text)!r}: begins like a JSON list and is none ({error})") from error
    if not isinstance(items, list):
        raise ParameterError(f"{name} is {redact(text)!r}: must be a list")
    return items


def check(values: Mapping[str, Any], *, among: Iterable[str] = NAMES) -> Parameters:
    """Hold values against the rules, all of them, before anything is called.

    Args:
        values: by name; what is not named takes its default.
        among: the names that may be given here (a notebook takes some of all).

    Returns:
        The parameters.

    Raises:
        ParameterError: the message lists each value that breaks its rule, with the rule and an example.
    """
    allowed = list(among)
    for name in values:
        if name not in allowed:
            raise unknown(name, allowed)
    try:
        return Parameters(**values)
    except ValidationError as error:
        raise ParameterError("\n".join(_sentence(problem, values) for problem in error.errors())) from None


def broken_rules(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with values, for whoever shows each rule beside its value.

    Args:
        values: by name; each must be a parameter's.

    Returns:
        By name the first rule that the value breaks, as a sentence; under "" a rule about several together.
    """
    try:
        Parameters(**values)
    except ValidationError as error:
        return {
            str(problem["loc"][0]) if problem["loc"] else "": _rule(problem, values)
            for problem in reversed(error.errors())
        }
    return {}


def _sentence(problem: Any, values: Mapping[str, Any]) -> str:
    if not problem["loc"]:
        return _rule(problem, values)
    name = str(problem["loc"][0])
    return f"{name} is {_short(redact(repr(values.get(name))))}: {_rule(problem, values)}"


# pydantic's own words for a bound, in the house's.
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}


def _rule(problem: Any, values: Mapping[str, Any]) -> str:
    rule = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{rule}."
    name = str(problem["loc"][0])
    given = values.get(name)
    if problem["type"].endswith("_type") and not isinstance(given, _type(name)):
        rule = f"must be {type_name(name)}, not {type(given).__name__}"
        if isinstance(given, (int, float)) and _type(name) is str:
            rule += f"; papermill's -p turns text that looks like a number into one, so give it raw: -r {name} TEXT"
    elif problem["type"] in _BOUNDS:
        words, bound = _BOUNDS[problem["type"]]
        rule = f"must be {words} {problem['ctx'][bound]}"
    elif problem["type"] == "literal_error":
        rule = f"must be {problem['ctx']['expected']}"
    examples = Parameters.model_fields[name].examples
    example = f" Example: {examples[0]!r}." if examples else ""
    return f"{rule}.{example}"


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text)} characters)"


def notebook_line(name: str) -> str:
    """The line of a notebook's parameter cell that declares this parameter."""
    field = Parameters.model_fields[name]
    return f"{name}: {type_name(name)} = {json.dumps(field.default) if not isinstance(field.default, bool) else field.default}  # {field.description}"  # noqa: E501 - one line in the cell


def choices(name: str) -> tuple[str, ...]:
    """The values that a parameter may have where there are but a few, otherwise nothing."""
    annotation = Parameters.model_fields[name].annotation
    if isinstance(annotation, types.GenericAlias) or get_origin(annotation) is not Literal:
        return ()
    return tuple(get_args(annotation))
