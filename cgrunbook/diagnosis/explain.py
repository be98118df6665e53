"""What a message that a person pastes means: which of the known ones it is, who says it, what may be behind it, how to tell.

It knows how clients write down what others said, and where in it the host stands that spoke. The messages are data,
`messages.toml`; what a cause means, `codes.py` says. Of what was pasted it repeats the known words only, and names.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from cgrunbook.diagnosis.codes import CHECKS, PAGES, Code, Reason
from cgrunbook.redaction import Secret, one_line
from cgrunbook.steps.prerequisites import BLOB_HOST

# --- who speaks

# The kinds of hosts, the first that fits; what is none of them is somebody else's.
_KINDS: Mapping[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "pkg": r".*docker\.pkg\.dev|docker\.[a-z0-9-]+\.rep\.pkg\.dev",
        "cgr": r"cgr\.dev",
        "apk": r"(?:virtualapk|apk|packages|libraries)\.cgr\.dev",
        "blobs": re.escape(BLOB_HOST),
        "google": r"(?:artifactregistry|secretmanager|serviceusage|cloudresourcemanager|oauth2|iamcredentials)\.googleapis\.com"
        r"|google_(?:artifact_registry|secret_manager)_\w+|gcloud\.(?:artifacts|secrets)\.[\w.-]+",
        "chainguard": r"(?:console-api|issuer|dl)\.enforce\.dev|(?:auth|data|console)\.chainguard\.dev|enforce\.dev|chainctl",
        "gcr": r"(?:\w+\.)?gcr\.io",
        "azure": r"[a-z0-9-]+\.azurecr\.io",
        # Documentation and sources are named in many messages, and say none.
        "": r"(?:cloud|console\.cloud|console\.developers|support)\.google\.com|(?:docs|www|support|edu|images)\..*|aka\.ms"
        r"|github\.com|golang\.org|k8s\.io|status\..*",
    }.items()
}
_WORD = {
    "pkg": "Artifact Registry",
    "cgr": "cgr.dev",
    "apk": "Chainguard's host for packages",
    "blobs": "the host of cgr.dev's layers",
    "google": "Google's API",
    "chainguard": "Chainguard's API",
    "gcr": "Google",
    "azure": "Azure Container Registry",
}

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A host in a URL, before a path or after a word that names one; Terraform's and gcloud's own names say which service they ask.
_SPEAKER = re.compile(
    rf"""(?:(?<=://)|(?<![\w./@:-]))(?:
        (?P<known>[\w<>{{}}$*-]{{0,60}}docker\.pkg\.dev|docker\.{_NAME}\.rep\.pkg\.dev|cgr\.dev)(?![\w.-])
        |(?P<host>(?:{_NAME}\.){{1,6}}[a-z]{{2,24}}(?::\d{{1,5}})?|(?:\d{{1,3}}\.){{3}}\d{{1,3}}:\d{{1,5}}|localhost:\d{{1,5}})(?=/)
        |(?P<service>google_\w{{3,60}}|gcloud\.[a-z.-]{{3,60}}|chainctl)\b
    )|(?<=://)(?P<url>(?:{_NAME}\.){{1,6}}[a-z]{{2,24}}|(?:\d{{1,3}}\.){{3}}\d{{1,3}}:\d{{1,5}})(?![\w-])
     |(?:\blookup|\bhost[=:]?|\bservice[=:]|\blogin|\bregistry)[ ]?"?(?P<named>(?:{_NAME}\.){{1,6}}[a-z]{{2,24}})(?![\w-])""",
    re.IGNORECASE | re.VERBOSE,
)

# --- how a text is read

# So many characters are searched: what says something, from the beginning and from the end.
_LONGEST = 400_000
_LONGEST_LINE = 4_000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,40}[ -/]{0,9}[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|[@-Z\\-_])")
_UNDONE: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"\\{1,8}u0{2}(?:22|27)|&(?:quot|apos|#3[49]|#x2[27]);|%22|[\u201c-\u201f`\u00b4]"), '"'),
    (re.compile(r"\\{1,8}u003[cC]|&lt;"), "<"),
    (re.compile(r"\\{1,8}u003[eE]|&gt;"), ">"),
    (re.compile(r"\\{1,8}u0026|&amp;"), "&"),
    (re.compile(r"\\{1,8}([\"'/])"), r"\1"),
    (re.compile(r"(?:\\{1,8}r)?\\{1,8}n"), "\n"),
    (re.compile(r"\\{1,8}t|[\t\u00a0\u2000-\u200a\u202f\u3000]"), " "),
    (re.compile(r"%3[aA]"), ":"),
    (re.compile(r"%2[fF]"), "/"),
    (re.compile(r"(?<![A-Za-z])['\u2018\u2019]|['\u2018\u2019](?![A-Za-z])"), '"'),
    (re.compile(r"[\u2018\u2019]"), "'"),
    (re.compile(r"(?<=://)[^/\s@\"]{1,4096}@"), ""),
    (re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2060\ufeff]"), ""),
)
# What stands before a line without being part of it: a quotation, a box, a list's mark.
_DECORATION = re.compile(
    r"^[\s|>*!\u2022\u2190-\u21ff\u2500-\u257f\u2580-\u27bf\u2b50-\u2b55\ufe0f]+|[\s\u2500-\u257f]+$"
)
# How an entry of a log begins, and what is never the rest of a line before.
_BEGINS = re.compile(
    r"\d{4}[-/]\d\d|\[|\d\d:\d\d|[EWIF]\d{4}\b|(?:time|level|ts|msg)=|#\d|\$ |% |docker: |"
    r"(?:step|warning|normal|error|err|fatal|info|debug|npm|failed|denied|unauthorized|traceback|status|pulling)\b",
    re.IGNORECASE,
)
_STAMP = re.compile(r"\s*\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,]{0,12}(?:Z|[+-]\d\d:?\d\d)?\]?[ \t]?")
_GOES_ON = re.compile(r"[{[(,:=\\]$")
_IS_THE_REST = re.compile(r'[}\])"]')
_IN_A_WORD = re.compile(r"(?<=[-/=?&%])\0")
# A terminal between so narrow and so wide breaks lines.
_NARROW, _WIDEST = 60, 400
# How far from the words their host may stand: on the line before and after, and in lines.
_BEFORE, _AFTER, _LINES_BEFORE, _LINES_AFTER = 800, 400, 8, 3

_PROMPT = re.compile(r"\s{0,9}[$%] ")

# What follows these is a secret, whatever it looks like.
_GIVEN = re.compile(
    r"""(?<!\w)(?:-p|--password|--token|\w{0,40}passw(?:or)?d|\w{0,40}_token|"auth")["']?"""
    r"""\s{0,9}[=: ]\s{0,9}["']?([^\s"'\\]{6,4096})""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Message:
    """A message that is known; the fields are described in `messages.toml`."""

    id: str
    pattern: re.Pattern[str]
    means: str
    causes: tuple[tuple[str, str], ...]
    sources: tuple[str, ...]
    at: tuple[str, ...] = ()
    by: str = ""
    attempts: tuple[str, ...] = ()
    helps: str = ""
    alone: re.Pattern[str] | None = None
    any_host: re.Pattern[str] | None = None
    lines: bool | str = False
    weak: bool = False
    upstream: bool = False

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Message:
        """Read one table of the file."""
        rest = dict(told)
        alone = rest.pop("alone_if", "" if rest.pop("alone", False) else None)
        rest["alone"] = None if alone is None else re.compile(alone, re.IGNORECASE)
        if "any_host" in rest:
            rest["any_host"] = re.compile(rest["any_host"], re.IGNORECASE)
        rest["pattern"] = re.compile(rest["pattern"], re.IGNORECASE)
        rest["attempts"] = tuple(rest.pop("try", ()))
        rest["causes"] = tuple((code, tell) for code, tell in rest["causes"])
        rest |= {name: tuple(rest[name]) for name in ("at", "sources") if name in rest}
        return cls(**rest)


class _Known(NamedTuple):
    """The file: the messages, the words of which one is in each, and those by which who pulls is known."""

    messages: tuple[Message, ...]
    telling: tuple[str, ...]
    client: re.Pattern[str]
    hostless: re.Pattern[str]
    short: re.Pattern[str]


@cache
def _known() -> _Known:
    text = resources.files("cgrunbook.diagnosis").joinpath("messages.toml").read_text(encoding="utf-8")
    told = tomllib.loads(text)
    client, hostless, short = (re.compile(told[name], re.IGNORECASE) for name in ("client", "hostless", "short"))
    return _Known(tuple(map(Message.of, told["message"])), tuple(told["telling"].split()), client, hostless, short)


def messages() -> tuple[Message, ...]:
    """All that are known."""
    return _known().messages


@dataclass(frozen=True)
class Explained:
    """A known message that was found.

    Args:
        message: which.
        said: the words by which it was known, masked.
        host: who said it, as it stands in the text; "" where nobody is named.
        service: the same for a person.
        named: what the text names, for the commands: host, location, project, repository, organization, image, tag ...
    """

    message: Message
    said: str = ""
    host: str = ""
    service: str = ""
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def known_of(self) -> str:
        """Who says so, where nobody is named."""
        return self.message.by or " or ".join(_WORD[kind] for kind in self.message.at)

    @property
    def commands(self) -> tuple[str, ...]:
        """What tells more, with the names that the text has; those that it has not stand there in capitals."""
        return tuple(self._filled(command) for command in self.message.attempts)

    @property
    def helps(self) -> str:
        """What to do beside the causes' own remedies."""
        return self._filled(self.message.helps)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "code": self.message.id,
            "said": self.said,
            "host": self.host,
            "service": self.service,
            "means": self.message.means,
            "causes": [
                {
                    "code": code,
                    "why": reason.why,
                    "told_by": tell,
                    "remedy": reason.helps,
                    "page": f"{PAGES}#{code.partition('/')[0]}",
                }
                for code, tell, reason in self.causes
            ],
            "commands": list(self.commands),
            "remedy": self.helps,
            "sources": list(self.message.sources),
        }

    @property
    def causes(self) -> tuple[tuple[str, str, Reason], ...]:
        """What may be behind it: a code of the doctor's, how that is told from the others, and what is known of it."""
        return tuple((code, tell, reason_of(code)) for code, tell in self.message.causes)

    def _filled(self, text: str) -> str:
        names = defaultdict(str, self.named)
        fields = re.findall(r"(?<!\{)\{(\w+)\}", text)
        return text.format(**{name: names[name] or name.upper() for name in fields})


@dataclass(frozen=True)
class Explanation:
    """What is known of a text.

    Args:
        found: the messages, in the order of the text.
        others: the hosts that it names and of which nothing is known here.
        cut: whether it was too long to be read as a whole.
    """

    found: tuple[Explained, ...] = ()
    others: tuple[str, ...] = ()
    cut: bool = False

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "known": bool(self.found),
            "messages": [one.as_json() for one in self.found],
            "others": list(self.others),
            "cut": self.cut,
        }


def explain(text: str, hosts: Mapping[str, str] | None = None) -> Explanation:
    """Find the known messages in a text.

    Args:
        text: as it was pasted: with colours, broken lines, quotes, a log around it.
        hosts: what addresses such as 127.0.0.1:5000 play, by address.
    """
    given = [Secret(found[1]) for found in _GIVEN.finditer(text[:_LONGEST])]  # hidden as long as this lasts
    if (known := _of_code(text.strip())) is not None:
        return Explanation((Explained(known, service=_service(known, "")),))
    reading = _Reading(text, hosts or {})
    found: dict[tuple[str, str], Explained] = {}
    for place, line in reading.telling():
        for explained in reading.known(place, line):
            found.setdefault((explained.message.id, explained.host), explained)
    strong = [one for one in found.values() if not one.message.weak]
    del given
    return Explanation(tuple(strong or found.values()), tuple(reading.others), reading.cut)


def _of_code(code: str) -> Message | None:
    """The message with this code; or, of a cause as an error of a step names it, all that there is to say."""
    if (known := next((message for message in messages() if message.id == code), None)) is not None:
        return known
    check, _, reason = code.partition("/")
    if check not in {*Code} or reason not in (about := CHECKS[Code(check)]).reasons:
        return None
    causes = ((code, about.looks_at),)
    return Message(code, re.compile(""), about.reasons[reason].why, causes, (about.source,), by=about.hop.value)


def reason_of(cause: str) -> Reason:
    """What is known of a cause, `CODE/REASON`."""
    code, _, reason = cause.partition("/")
    return CHECKS[Code(code)].reasons[reason]


class _Reading:
    """A text as it is read: lines as they were before somebody's terminal broke them, and who speaks in each."""

    def __init__(self, text: str, hosts: Mapping[str, str]) -> None:
        self._hosts = hosts
        self.cut = False
        self._lines = [
            ("\n" + spaced[at : at + _LONGEST_LINE], "\n" + glued[at : at + _LONGEST_LINE])
            for spaced, glued in _logical(text)
            for at in range(0, max(len(spaced), 1), _LONGEST_LINE - 500)
        ]
        #: Hosts that are nobody's here, in the order of the text.
        self.others: dict[str, None] = {}

    def telling(self) -> Iterator[tuple[int, str]]:
        """The lines in which something could be said, each once; of too many, the first and the last."""
        seen: dict[str, tuple[int, str]] = {}
        for place, (spaced, _) in enumerate(self._lines):
            low = spaced.lower()
            if any(word in low for word in _known().telling):
                seen.setdefault(re.sub(r"\d+", "", low), (place, spaced))
        lines, size = list(seen.values()), sum(len(line) for _, line in seen.values())
        if size <= _LONGEST:
            return iter(lines)
        self.cut = True
        first, last = _within(lines, _LONGEST // 2), _within(lines[::-1], _LONGEST // 2)
        return iter([*first, *last[::-1]])

    def known(self, place: int, line: str) -> Iterator[Explained]:
        """The messages of a line: the first that fits it as it is, else as if its breaks had been in the middle of words."""
        glued = self._lines[place][1]
        for text in dict.fromkeys((line, glued)):
            speakers = list(self._speakers(text))
            for message in messages():
                for found in message.pattern.finditer(text):
                    if (explained := self._explained(message, found, place, text, speakers)) is not None:
                        yield explained
                        return

    def _explained(
        self, message: Message, found: re.Match[str], place: int, text: str, speakers: Sequence[tuple[int, str, str]]
    ) -> Explained | None:
        groups = [value for name, value in found.groupdict().items() if name.startswith("host") and value]
        beside = not message.at or message.lines is True or (message.lines and _known().client.search(text))
        near = self._near(found, speakers) or (self._beside(place) if beside else None)
        host, around = (groups[0], text) if groups else near or ("", text)
        kind = self._kind(host)
        if message.upstream:
            if groups and kind not in ("cgr", "blobs"):
                return None
            host = self._pkg(near) if groups else host
        elif message.any_host and message.any_host.search(text):
            kind = kind if kind in message.at else message.at[0]
        elif message.at and host and kind not in message.at:
            if kind == "other":
                self.others.setdefault(host)
            return None
        elif message.at and not host and not (message.alone and message.alone.search(text)):
            return None
        said = found[0] if len(found[0]) <= 140 else f"{found[0][:70]} ... {found[0][-60:]}"
        host = host if message.at or kind in ("pkg", "gcr") else ""
        names = {"host": host, **_located(self._hosts.get(host, host)), **_named(self._real(f"{text}\n{around}"))}
        return Explained(message, one_line(said), host, _service(message, kind), names)

    def _real(self, text: str) -> str:
        for address, host in self._hosts.items() if "127.0.0.1:" in text else ():
            text = text.replace(address, host)
        return text

    def _pkg(self, near: tuple[str, str] | None) -> str:
        return near[0] if near is not None and self._kind(near[0]) == "pkg" else ""

    def _near(self, found: re.Match[str], speakers: Sequence[tuple[int, str, str]]) -> tuple[str, str] | None:
        """The host of the words: among them, else the last before them, else the first behind."""
        begin, end = found.span()
        inside = [host for at, host, kind in speakers if begin <= at < end and kind is not None]
        before = [host for at, host, kind in speakers if begin - _BEFORE <= at < begin]
        after = [host for at, host, kind in speakers if end <= at < end + _AFTER]
        hosts = inside[:1] or before[-1:] or after[:1]
        return (hosts[0], found.string) if hosts else None

    def _beside(self, place: int) -> tuple[str, str] | None:
        """The host of the nearest line that has one, of those before and then of those behind."""
        if _known().short.search(self._lines[place][0]):
            return None
        for other in (*range(place - 1, place - 1 - _LINES_BEFORE, -1), *range(place + 1, place + 1 + _LINES_AFTER)):
            if 0 <= other < len(self._lines):
                text = self._lines[other][0]
                if other > place and _PROMPT.match(text):
                    return None  # the next command
                if speakers := list(self._speakers(text)):
                    return speakers[0][1], text  # what a command is about stands before its options
                if _known().hostless.search(text):
                    return None
        return None

    def _speakers(self, text: str) -> Iterator[tuple[int, str, str]]:
        for found in _SPEAKER.finditer(text):
            host = found[found.lastgroup or 0]
            kind = self._kind(host)
            if kind != "":
                yield found.start(), host, kind

    def _kind(self, host: str) -> str:
        """Which kind of host, "other" for somebody else's, "" for one that never speaks and for none."""
        plain = self._hosts.get(host, host).lower()
        plain = plain if plain.startswith(("127.", "localhost")) else plain.partition(":")[0]
        return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(plain)), "other") if plain else ""


def _service(message: Message, kind: str) -> str:
    return message.by or _WORD.get(kind, "")


def _undone(text: str) -> str:
    """A text without escapes and typographers' quotes."""
    for pattern, meant in _UNDONE:
        text = pattern.sub(meant, text)
    return text


def _logical(text: str) -> Iterator[tuple[str, str]]:
    """The lines as they were written: their parts with a space between, and without."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = _undone("\n".join(_unwrapped(lines))).split("\n")
    if sum(bool(_STAMP.match(line)) for line in lines) > 0.8 * sum(map(bool, lines)):
        lines = [_STAMP.sub("", line) for line in lines]  # all have one, so none tells an entry from the rest of one
    parts: list[str] = []
    length = 0
    for raw in lines:
        line = _DECORATION.sub("", raw)
        goes_on = parts and line and length < _LONGEST_LINE and not _BEGINS.match(line)
        if goes_on and (len(parts[-1]) >= _NARROW or _GOES_ON.search(parts[-1]) or _IS_THE_REST.match(line)):
            parts.append(line)
            length += len(line)
            continue
        yield _IN_A_WORD.sub("", "\0".join(parts)).replace("\0", " "), "".join(parts)
        parts, length = [line], len(line)
    yield _IN_A_WORD.sub("", "\0".join(parts)).replace("\0", " "), "".join(parts)


def _unwrapped(lines: Sequence[str]) -> Iterator[str]:
    """The lines, those joined that a terminal broke at its last column: then more than one is as long as the longest."""
    width = max(map(len, lines))
    if not _NARROW <= width <= _WIDEST or sum(len(line) == width for line in lines) < 2:
        yield from lines
        return
    whole = ""
    for line in lines:
        whole += line
        if len(line) == width - 1:
            whole += " "  # which is not copied at the end of a line
        elif len(line) < width:
            yield whole
            whole = ""
    yield whole


def _within(lines: Sequence[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """The first of some lines, as many as are not longer than that together."""
    taken: list[tuple[int, str]] = []
    for place, line in lines:
        most -= len(line)
        if most < 0:
            break
        taken.append((place, line))
    return taken


# --- what is named

_ID = r"[a-z0-9][a-z0-9._-]{0,62}"
_PATHS: Sequence[re.Pattern[str]] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"projects/(?P<project>{_ID})/locations/(?P<location>{_ID})(?:/repositories/(?P<repository>{_ID}))?",
        rf"(?P<location>{_ID})-docker\.pkg\.dev/(?:v2/)?(?!token)(?P<project>(?:{_ID}\.[a-z]+/)?{_ID})/(?P<repository>{_ID})"
        rf"(?:/(?P<path>(?P<organization>{_ID})/(?P<image>{_ID})))?(?::(?P<tag>{_ID})|/manifests/(?P<tag2>{_ID}))?",
        rf"cgr\.dev/(?:v2/)?(?!token)(?P<path>(?P<organization>{_ID})/(?P<image>{_ID}))(?::(?P<tag>{_ID})|/manifests/(?P<tag2>{_ID}))?",
        rf"cgr\.dev/token\S{{0,200}}repository:(?P<organization>{_ID})/(?P<image>{_ID}):pull",
        rf"pkg\.dev/v2/token\S{{0,200}}repository:(?P<project>{_ID})/(?P<repository>{_ID})(?:/(?P<organization>{_ID})/(?P<image>{_ID}))?:pull",
        rf"projects/(?P<project>{_ID})/secrets/(?P<secret>{_ID})(?:/versions/(?P<version>{_ID}))?",
        rf"(?:in project|--project[= ]|on project \[|project=)(?P<project>{_ID})",
    )
)


def _located(host: str) -> dict[str, str]:
    found = re.match(rf"({_ID})-docker\.pkg\.dev", host)
    return {"location": found[1]} if found else {}


def _named(text: str) -> dict[str, str]:
    """What a text names, each thing by the first place that names it."""
    names: dict[str, str] = {}
    for pattern in _PATHS:
        for found in pattern.finditer(text):
            for name, value in found.groupdict().items():
                if value and value == one_line(value):
                    names.setdefault(name.rstrip("2"), value)
    return names
