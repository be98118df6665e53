"""What is written down of an answer: its status, its shape and its sentences, and nothing that tells whose it was, or when.

Kept is what is named here. A text whose field is not among them is written as its kind, and within the texts that are kept what
has the form of a name, a number, a time, an address or a token is written as a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cgrunbook.redaction import redact
from tests.probe.sending import Answer

#: Headers that say something about a service; of others not even the name is kept.
HEADERS = frozenset(
    {
        "content-type",
        "content-encoding",
        "docker-content-digest",
        "docker-distribution-api-version",
        "link",
        "location",
        "oci-filters-applied",
        "oci-subject",
        "retry-after",
        "vary",
        "www-authenticate",
    }
)
_QUOTA_HEADER = re.compile(r"x-goog-[\w-]*|[\w-]*ratelimit[\w-]*|[\w-]*quota[\w-]*")

#: Fields whose texts are kept; enums are, wherever they stand.
TEXTS = frozenset(
    {
        "@type", "artifactType", "code", "consumer", "description", "detail", "domain", "email",
        "enablementStateReason", "error", "field", "lives", "mediaType", "members", "message", "mode", "name",
        "passwordSecretVersion", "permission", "reason", "registryUri", "repository", "resource", "role",
        "said", "schemaVersion", "service", "state", "status", "subject", "tags", "topics", "type", "uri",
        "username",
    }
)  # fmt: skip
_NUMBERS = frozenset({"code", "priority", "schemaVersion", "status", "version"})
_ENUM = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_LONGEST = 1200

_AGENT = r"service-(?:NUMBER|\d+)@gcp-sa-[a-z-]+\.iam\.gserviceaccount\.com"
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?UTC|Z|[+-]\d\d:?\d\d)?")
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_TIME, "TIME"),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "TIME"),
    (re.compile(r"principal(?:Set)?://[^\s\"',\])]+"), "PRINCIPAL"),
    (re.compile(rf"(?<![\w.+%-])(?!{_AGENT})[\w.+%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+"), "ACCOUNT"),
    (re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"sha256[:-][0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"(?i)(?<![a-z0-9])(?=[a-z]*\d)(?=\d*[a-z])[0-9a-f]{12,}(?![a-z0-9])"), "ID"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"), "ADDRESS"),
    (re.compile(r"(?i)(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])"), "ADDRESS"),
    (re.compile(r"(?<![\w.])\d{6,}(?![\w.])|(?<=-)\d{6,}(?=@)"), "NUMBER"),
    (re.compile(r"(?<=projects/)(?!PROJECT\b|NUMBER\b)[\w:.-]+"), "ANOTHER"),
    (re.compile(r"(?<=projects%2F)(?!PROJECT\b|NUMBER\b)[\w:.-]+"), "ANOTHER"),
    (re.compile(r"(?<=operations/)[\w.-]+"), "ID"),
    (re.compile(r"(?<=Perimeters/)[\w.-]+|(?<=accessLevels/)[\w.-]+|(?<=custom\.)[\w-]+"), "ANOTHER"),
    (re.compile(r"(?<=\?)[^\s\"']*(?:[Ss]ignature|[Cc]redential|[Tt]oken)=[^\s\"']*"), "QUERY"),
    (re.compile(r"(?<![\w+=-])(?=[\w+=-]*\d)(?=[\w+=-]*[a-z])(?=[\w+=-]*[A-Z])[\w+=-]{24,}"), "ID"),
)


class Words:
    """Rewrites what came back.

    Args:
        known: values that must not be written down, with the word for each.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known: dict[str, str] = {}
        for value, word in known.items():
            self.learn(value, word)

    def learn(self, value: str, word: str) -> None:
        """Know one more; an empty one is none."""
        if value:
            self._known[value] = word

    def text(self, text: str) -> str:
        """A sentence, or a name, without what is somebody's."""
        text = redact(text)
        for value in sorted(self._known, key=len, reverse=True):
            # One that could be an ordinary word is looked for as a word.
            plain = value.isalpha() and len(value) < 12
            text = re.sub(rf"(?<![a-z0-9]){re.escape(value)}(?![a-z0-9])" if plain else re.escape(value),
                          self._known[value], text)  # fmt: skip
        for form, word in _FORMS:
            text = form.sub(word, text)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

    def shape(self, value: Any, field: str = "", *, texts: bool = True) -> Any:
        """A body as it is written down.

        Args:
            value: JSON, or text.
            field: where it stands.
            texts: whether any texts are kept.
        """
        if isinstance(value, dict):
            return {self.text(name): self.shape(item, name, texts=texts) for name, item in sorted(value.items())}
        if isinstance(value, list):
            # How many, and in which order, is another day's.
            shapes = {
                json.dumps(found, sort_keys=True): found
                for found in (self.shape(item, field, texts=texts) for item in value)
            }
            return [shapes[key] for key in sorted(shapes)]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if field in _NUMBERS else "a number"
        if field == "said" or (texts and (field in TEXTS or _ENUM.fullmatch(value))):
            return self.text(value.strip())
        return "" if not value else "a time" if _TIME.fullmatch(value) else "a text"

    def answer(self, answer: Answer, shown: str) -> dict[str, Any]:
        """An answer as it is written down.

        Args:
            answer: as it came.
            shown: "texts"; "shape" for a body without texts, "status" for no body but a refusal's.
        """
        written: dict[str, Any] = {"status": answer.status}
        if headers := {
            name: self._header(name, value) for name, value in sorted(answer.headers.items()) if _told(name)
        }:
            written["headers"] = headers
        # An exit code is below those of HTTP.
        refused = answer.status >= 400 or 0 < answer.status < 100
        if refused or shown != "status":
            if isinstance(answer.body, str):
                # A page may be a proxy's, and say whose.
                title = re.search(r"(?is)<title>(.*?)</title>", answer.body)
                page = "a page" if re.search(r"(?i)<html|<!doctype", answer.body) else answer.body
                written["text"] = self.text(title[1] if title else page)[:400]
            elif answer.body is not None:
                written["body"] = self.shape(answer.body, texts=refused or shown == "texts")
        return written

    def _header(self, name: str, value: str) -> str:
        if not _ENUM.fullmatch(name) and _QUOTA_HEADER.fullmatch(name):
            return "there"
        if name == "location":
            # A link that is signed opens what it leads to: all of its path and query goes.
            return self.text(re.sub(r"(?<=[^/:])/.*", "/...", value))
        return self.text(value)


def _told(name: str) -> bool:
    return name in HEADERS or _QUOTA_HEADER.fullmatch(name) is not None
