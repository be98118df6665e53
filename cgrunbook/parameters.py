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

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from cgrunbook import durations, nearest
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
    CHAINGUARD = "Chainguard without chainctl"
    RUN = "This run"


class Way(Enum):
    """How a value came, which decides how another is given."""

    OPTION = "cgrunbook run -p"
    PAPERMILL = "papermill's -p, -r, -y, -f and what else injects a cell"
    CELL = "a cell"
    FORM = "a field of the form"


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
    """A length of time that is not shorter, or is empty; a hundred years are the longest that Secret Manager takes."""

    def check(text: str) -> str:
        if text and durations.parse(text) < shortest:
            raise ValueError(rule)
        if text and durations.parse(text) > timedelta(days=36500):
            raise ValueError("must be at most 876000h, a hundred years")
        return durations.go(text) if text else ""

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
    return durations.go(text)


def _grace(text: str) -> str:
    if durations.parse(text) > _LONGEST_TOKEN_LIFE:
        raise ValueError("must be at most 8760h: no pull token lives longer")
    return durations.go(text)


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


def refused_for_everybody(members: Collection[str], *, forced: bool) -> str:
    """Why these must not all pull through a repository that signs in at its upstream, as a rule; "" where they may."""
    everybody = [member for member in members if member in {"allUsers", "allAuthenticatedUsers"}]
    if not everybody or forced:
        return ""
    return (
        f"{everybody[0]} is everybody{' who has a Google account' if 'Auth' in everybody[0] else ''}: they could pull your "
        "organisation's images, at your cost; if it is meant all the same, set everybody_reads to true"
    )


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
_REPOSITORY_RULE = (
    r"[a-z]([a-z0-9-]*[a-z0-9])?",
    "must have 1 to 63 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen",
)
_REPOSITORY = _text(*_REPOSITORY_RULE, longest=63, given=True)
_REPOSITORY_OR_NONE = _text(*_REPOSITORY_RULE, longest=63)
_ORGANIZATION = _text(
    r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?",
    "must be the organisation's name at cgr.dev, as in cgr.dev/NAME/chainguard-base, such as example.com",
    longest=255,
)
_IDENTITY = _text(r"[0-9a-f]{40}/[0-9a-f]{16}", "must be an identity's id: 40 hex digits, a slash, 16 hex digits")
_SERVICE_ACCOUNT = _text(
    r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com",
    "must be a service account's address, such as rotator@my-project.iam.gserviceaccount.com",
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
_MEMBER = _text(
    r"allUsers|allAuthenticatedUsers|(user|group|serviceAccount):[^\s@,]+@[^\s@,]+\.[^\s@,]+|domain:[^\s@,]+\.[^\s@,]+|"
    r"principal(Set)?://iam\.googleapis\.com/[^\s,]+",
    "must be a principal as IAM writes it, with its kind: user:, group:, serviceAccount:, domain:, principal:// or principalSet://",
    given=True,
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


# Says that one value is looked at, whatever it must be together with others.
_ALONE = object()


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
    virtual_repository: Annotated[str, _REPOSITORY_OR_NONE] = _of(
        Group.NAMED, "", "one address over both, a virtual repository; empty makes none", "chainguard"
    )
    upstream: Annotated[str, AfterValidator(_upstream)] = _of(
        Group.NAMED, UPSTREAM, "the registry behind both, always https://cgr.dev/"
    )
    organization: Annotated[str, _ORGANIZATION] = _of(
        Group.WHERE, "", "your organisation at cgr.dev; empty takes the only one you have", "example.com"
    )
    chainguard_auth: Literal["", "chainctl", "service-account"] = _of(
        Group.CHAINGUARD,
        "",
        "how Chainguard is called; empty is chainctl where it is signed in, else chainguard_identity where that is given",
        "service-account",
    )
    chainguard_identity: Annotated[str, _IDENTITY] = _of(
        Group.CHAINGUARD,
        "",
        "the identity at Chainguard that a Google service account assumes, so that chainctl is not needed",
        f"{'0' * 40}/{'0' * 16}",
    )
    chainguard_service_account: Annotated[str, _SERVICE_ACCOUNT] = _of(
        Group.CHAINGUARD,
        "",
        "that account, where the run's own credentials are another's",
        "rotator@my-project.iam.gserviceaccount.com",
    )
    chainguard_set_up: bool = _of(
        Group.CHAINGUARD,
        False,
        "an owner lets chainguard_service_account make pull tokens, once; teardown takes that away",
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
    readers: Annotated[list[Annotated[str, _MEMBER]], AfterValidator(_once_each)] = _of(
        Group.SET_UP,
        [],
        "who may pull through the private repository, as IAM writes them, such as a cluster's nodes; others keep what they have",
        ["serviceAccount:nodes@my-project.iam.gserviceaccount.com"],
    )
    everybody_reads: bool = _of(
        Group.SET_UP, False, "lets readers name allUsers, who then pull your organisation's images"
    )
    kms_key_name: Annotated[str, _KMS_KEY] = _of(
        Group.SET_UP,
        "",
        "a customer-managed key; empty leaves encryption to Google; fixed once created",
        "projects/my-project/locations/us-central1/keyRings/my-ring/cryptoKeys/my-key",
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
        Group.TOKEN,
        "",
        "Pub/Sub topic that is told when the token is due; needs rotation_period",
        "projects/my-project/topics/rotation",
    )
    rotation_period: Annotated[str, _PERIOD] = _of(
        Group.TOKEN, "", "how often the topic is told; a notice only, 05_rotate_pull_token does it", "600h"
    )
    grace_period: Annotated[str, AfterValidator(_grace)] = _of(
        Group.TOKEN,
        "1h",
        "how long a replaced pull token stays, for pulls in flight; up to wait_limit it is waited for, else the next run ends it",
    )
    if_days_left: int = _of(
        Group.TOKEN, 0, "rotates only a pull token that has no more days left than this; 0 rotates any", 7, ge=0, le=365
    )
    try_fresh_repository: bool = _of(
        Group.RUN, False, "debugging makes a second repository with the same settings, tries it, removes it"
    )
    wait_limit: int = _of(
        Group.RUN, 600, "seconds to wait for what is known to pass, such as IAM's propagation", ge=1, le=7200
    )
    confirm: str = _of(Group.RUN, "", "teardown deletes only when this is the value of repository")

    @model_validator(mode="after")
    def _belong_together(self, info: ValidationInfo) -> Parameters:
        if info.context is _ALONE:
            return self
        if bool(self.rotation_topic) != bool(self.rotation_period):
            missing = "rotation_topic" if not self.rotation_topic else "rotation_period"
            raise _together(missing, f"{missing} is missing: a notice needs both rotation_topic and rotation_period")
        if self.chainguard_auth == "service-account" and not self.chainguard_identity:
            raise _together(
                "chainguard_identity",
                "chainguard_identity is missing: chainguard_auth=service-account needs the identity that is assumed",
            )
        if self.chainguard_set_up and not self.chainguard_service_account:
            raise _together(
                "chainguard_service_account",
                "chainguard_service_account is missing: chainguard_set_up needs the account that is to make pull tokens",
            )
        if rule := refused_for_everybody(self.readers, forced=self.everybody_reads):
            raise _together("readers", f"readers: {rule}")
        key = self.kms_key_name.split("/")
        if self.kms_key_name and key[3] != self.location:
            raise _together(
                "kms_key_name",
                f"kms_key_name is a key in {key[3]}, and location is {self.location}: Artifact Registry takes only keys of "
                "the repository's own location",
            )
        # Where it is not told the repository, a notebook of somebody's own may say another.
        if self.confirm and self.confirm != self.repository and "repository" in self.model_fields_set:
            raise _together(
                "confirm",
                f"confirm is {shown(self.confirm)}, and repository is {self.repository!r}: nothing is deleted unless they are "
                "the same; empty only lists what would be",
                meant=self.repository,
            )
        return self


def _together(name: str, sentence: str, meant: str = "") -> PydanticCustomError:
    """The error for values that do not go together, at the parameter that is to be put right, and what it should be."""
    return PydanticCustomError("together", "{sentence}", {"name": name, "sentence": sentence, "meant": meant})


NAMES = tuple(Parameters.model_fields)

LENGTHS_OF_TIME = ("token_ttl", "cleanup_older_than", "secret_expires_after", "rotation_period", "grace_period")
"""Those that are written as 30d or 720h, and used as 720h."""


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
    if kind is list:
        return _list_from_text(name, text)
    value = _read(kind, text)
    if value is None:
        raise _refused(name, text, "must be true or false" if kind is bool else "must be a whole number")
    return value


def _read(kind: type, text: str) -> str | int | bool | None:
    """A text as a value of a type; None where it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is int:
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
    return text


def example_of(name: str) -> Any:
    """A value that the parameter may have; None where its rule says how it looks."""
    examples = Parameters.model_fields[name].examples
    return examples[0] if examples else None


def as_text(value: Any) -> str:
    """A value as the command line takes it; `from_text` reads it again."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, (bool, int)) else str(value)


def in_form(value: Any) -> str:
    """A value as a field of the form has it."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else as_text(value)


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
    question = _question(name, text, Way.FORM)
    return ParameterError(
        f"{name} is {redact(text)!r}: {rule}{question}",
        how_to_give(name, Way.OPTION, meant_by(name, text)),
        rules={name: f"{rule}{question}."},
    )


def how_to_give(name: str, way: Way, meant: Any = None) -> str:
    """How a value is given, in the words of the way that another one came.

    Args:
        name: the parameter.
        way: how the other came.
        meant: what was likeliest meant by it; None gives an example instead.
    """
    example = example_of(name) if meant is None else meant
    if example is None:
        example = {bool: True, int: 1}.get(_type(name), "TEXT")
    kind, text = _type(name), as_text(example)
    if way is Way.CELL:
        written = json.dumps(example) if kind in (str, list) else repr(example)
        return f"Write it in a cell before the opening one as: {name} = {written}"
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
        advice: list[str] = []
        rules: dict[str, str] = {}
        for problem in error.errors():
            alone = bool(problem["loc"])
            name = str(problem["loc"][0] if alone else problem["ctx"]["name"])
            given = values.get(name)
            rule = _rule(name, problem, given, way(name) if way else None)
            said.append(f"{name} is {shown(given)}: {rule}" if alone else rule)
            meant = meant_by(name, given) if alone else problem["ctx"]["meant"]
            if way and name not in rules and (alone or meant):
                advice.append(how_to_give(name, way(name), meant))
            rules.setdefault(name, rule)
        raise ParameterError("\n".join(said), "\n".join(advice), rules=rules) from None


def same(name: str, value: Any, used: Any) -> bool:
    """Whether a value is the one that is in use, or means the same in other words, such as an image without its tag."""
    return bool(value == used or _as_used(name, value) == used)


def allowed(name: str, value: Any) -> bool:
    """Whether a parameter may have a value."""
    return _as_used(name, value) is not None


def _as_used(name: str, value: Any) -> Any:
    """What is made of a value by itself; None where it breaks the rule."""
    try:
        given = {name: list(value) if isinstance(value, tuple) else value}
        return getattr(Parameters.model_validate(given, context=_ALONE), name)
    except ValidationError:
        return None


def shown(value: Any) -> str:
    """A value as a sentence has it: as Python writes it, redacted, and not too long."""
    text = redact(repr(value))
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text)} characters)"


# pydantic's own words for a bound, in the house's.
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}


def _rule(name: str, problem: Any, given: Any, way: Way | None) -> str:
    """The sentence on a value, with what was likeliest meant by it; else with an example where no advice follows."""
    rule = str(problem["ctx"]["error"] if problem["type"] == "value_error" else problem["msg"])
    if not problem["loc"]:
        return f"{rule}."
    if problem["type"].endswith("_type") and not isinstance(given, _type(name)):
        rule = f"must be {type_name(name)}, not {type(given).__name__}"
    elif problem["type"] in _BOUNDS:
        words, bound = _BOUNDS[problem["type"]]
        rule = f"must be {words} {problem['ctx'][bound]}"
    elif problem["type"] == "literal_error":
        rule = f"must be {problem['ctx']['expected']}"
    if isinstance(given, str) and given != given.strip():
        rule += "; there is white space around it"
    elif isinstance(given, str) and given[:1] == given[-1:] and given[:1] in {"'", '"'}:
        rule += "; it has quotes that belong to it: give it without"
    if question := _question(name, given, way):
        return f"{rule}{question}."
    example = example_of(name)
    if example is None or way not in {None, Way.FORM}:
        return f"{rule}."
    written = in_form(example) if way else repr(example)
    return f"{rule}." if way and written in rule else f"{rule}. Example: {written}."


def _question(name: str, given: Any, way: Way | None) -> str:
    """Whether that was meant which is likeliest; "" where nothing is."""
    meant = meant_by(name, given)
    if meant is None:
        return ""
    return f" (did you mean {in_form(meant) if way is Way.FORM else repr(meant)}?)"


def meant_by(name: str, given: Any) -> Any:
    """The value that was likeliest meant by one that will not do, or that nothing is known by; None where that is not known."""
    kind = _type(name)
    if kind is list:
        items = given.replace("[", "").split(",") if isinstance(given, str) else given
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            return None
        found = [item if allowed(name, [item]) else _nearest(name, item) for item in items]
        meant = list(dict.fromkeys(item for item in found if item))
        return meant if meant and all(found) and meant != given and allowed(name, meant) else None
    if not isinstance(given, str) or not given.strip():
        return None
    # A location may be well-formed and not be there.
    fine = given in nearest.LOCATIONS if name == "location" else kind is str and allowed(name, given)
    return None if fine else _nearest(name, given)


def _nearest(name: str, text: str) -> Any:
    """The likeliest of what may have been meant by a text that the parameter may have; None for none."""
    kind = _type(name)
    for candidate in nearest.candidates(name, text, choices(name)):
        value = [candidate] if kind is list else _read(kind, candidate)
        if candidate and value is not None and candidate != text and allowed(name, value):
            if "location" in name and candidate not in nearest.LOCATIONS:
                continue
            return candidate if kind is list else value
    return None


def choices(name: str) -> tuple[str, ...]:
    """The values that a parameter may have where there are but a few, otherwise nothing."""
    annotation = Parameters.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
