"""Secrets that cannot be shown, and the mask that all output passes.

`Secret` is the first net: no way of printing, formatting, copying or pickling it gives its value away. `mask` is the
second: it hides every known value and its pieces, in whichever encoding they come, and what has the shape of a
credential. It knows no service.
"""

from __future__ import annotations

import binascii
import html
import re
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NoReturn

MASK = "[redacted]"

# Shorter values would mask ordinary words.
_SHORTEST = 6

# So many characters of a value in one piece are taken for a piece of it, and hidden.
PIECE = 12
# Pieces are found by strings of this length, of which each form of a value is indexed at every so many characters: a
# piece holds one of them wherever it was cut.
_GRAM = 6
_EVERY = PIECE - _GRAM + 1
# How often a form's string is indexed, where the form has it more often.
_AGAIN = 4
# How many values are known after the last Secret of theirs is gone: what holds a copy may speak later.
_REMEMBERED = 32
# What of a value cannot be an ordinary word.
_RANDOM = re.compile(rf"(?<!\S)(?=\S*[0-9])(?=\S*[A-Za-z])(?!\S*://)\S{{{PIECE},}}")
# One encoding in another, so often: a base64 in JSON in a base64 in a JSON text.
_DEPTH = 3

# What tokens and all their encodings are written with. Elsewhere in a text, no piece of one is looked for.
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN_CHARACTERS = f"{_LETTERS}0123456789_.~-+/=%"
_RUN = re.compile(rf"[{re.escape(_TOKEN_CHARACTERS)}]{{{PIECE},}}")
# So many texts without anything to hide are remembered, none longer than that: most of a card that is drawn anew is as it was.
_CLEAN, _LONG = 128, 32768

# One character, as JSON, Python, HTML and URLs may spell it.
_SPELT = re.compile(
    r"%[0-9A-Fa-f]{2}|\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|"
    r"\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[0-3][0-7]{2}|\\[nrtbf\"'/\\]|&(?:\#\d{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,6});"
)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
# What stands in the middle of a value that was broken into lines, quoted again, coloured or marked up.
_BETWEEN = re.compile(
    r"(?:\x1b\[[0-9;?]*[A-Za-z]|</?(?:span|wbr|br|b|i|em|strong|code)\b[^<>]{0,60}>|"
    r"[\s\"'`\\,|:>\x00\u00ad\u200b-\u200d\u2060\u2500-\u257f\ufeff](?:0x)?)+"
)
# What stands in a mark itself, as in <b title="...">, is looked at before the marks are taken away.
_MARKED = re.compile(r"<(?:span|b|i|em|strong|code)\b[^<>]{6,60}>")
# For each byte the digit that it is, in either of base64's alphabets; what is none is taken for one.
_BASE64 = bytes.maketrans(b"-_", b"+/").translate(
    bytes(byte if chr(byte) in f"{_LETTERS}0123456789+/" else ord("A") for byte in range(256))
)
# Bytes as a list of numbers, as Python and JavaScript write them.
_NUMBERS = re.compile(rf"(?:\b1?[0-9]{{2}}[,\s]++){{{_SHORTEST - 1}}}")
_NUMBER = re.compile(r"\b(1?[0-9]{2})\b[,\s]*")
# Rubbish has other characters at every few; in UTF-16 there is a zero byte behind each.
_TEXT = re.compile(rf"(?:[^\x00-\x08\x0b-\x1f]\x00?){{{_SHORTEST},}}")
_HEXADECIMAL = bytes(byte if chr(byte) in "0123456789ABCDEFabcdef" else 48 for byte in range(256))


class Secret:
    """A value that lives in memory only.

    Args:
        value: the secret text; `reveal()` is the only way back to it.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        _known.learn(value)
        weakref.finalize(self, _known.drop, value).atexit = False

    def reveal(self) -> str:
        """The value, for the one call that hands it to its service."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return id(self)

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled, copied or written to disk")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self.__getstate__()


class _Known:
    """All values that must not be shown, and how they are found in a text.

    Values of at least `PIECE` characters are found by any piece of theirs; the others as a whole.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holders: dict[str, int] = {}
        self._dropped: deque[str] = deque()
        self._gone: deque[str] = deque()
        # By a string of `_GRAM` characters, the forms that have it, and where. A list is never changed, so that reading
        # needs no lock.
        self._grams: dict[str, list[tuple[str, int]]] = {}
        self._whole: dict[str, tuple[str, ...]] = {}
        self._sources: list[Callable[[], Iterable[str] | None]] = []
        #: Texts that have nothing to hide. It is another one once a value was learnt: what was looked for meanwhile goes nowhere.
        self.clean: dict[str, None] = {}

    def learn(self, value: str) -> None:
        """Know a value until it is dropped as often as it was learnt."""
        with self._lock:
            self._settle()
            holders = self._holders.get(value, 0)
            self._holders[value] = holders + 1
            if holders or len(value) < _SHORTEST:
                return
            if value in self._gone:
                self._gone.remove(value)
                return
            self._whole[value] = _whole_forms(value)
            for gram, where in _grams(value):
                self._grams[gram] = [*self._grams.get(gram, ()), where]
            self.clean = {}

    def drop(self, value: str) -> None:
        """One holder less. It is only noted down: the collector calls this in the middle of anything, of this class too."""
        self._dropped.append(value)

    def _settle(self) -> None:
        """Do what was noted down; the last values of any length are remembered for a while."""
        while self._dropped:
            value = self._dropped.popleft()
            self._holders[value] -= 1
            if self._holders[value]:
                continue
            del self._holders[value]
            # A short or plain one, or an address, could be an ordinary word of what is said later.
            if len(set(value)) >= PIECE and _RANDOM.search(value):
                self._gone.append(value)
                value = self._gone.popleft() if len(self._gone) > _REMEMBERED else ""
            if value in self._whole:
                self._forget(value)

    def _forget(self, value: str) -> None:
        del self._whole[value]
        for gram, where in _grams(value):
            left = self._grams.pop(gram).copy()
            left.remove(where)  # one of them: another value may have the same form
            if left:
                self._grams[gram] = left

    def watch(self, source: Callable[[], Iterable[str] | None]) -> None:
        """Mask from now on what somebody else holds, as it changes.

        Args:
            source: called for each text that is masked, so it must be quick; answers the values, or None when that is over.
        """
        with self._lock:
            self._sources.append(source)

    def look(self) -> None:
        """Learn what those who are watched hold now, and forget what nobody holds."""
        if self._dropped:
            with self._lock:
                self._settle()
        for source in tuple(self._sources):
            values = source()
            if values is None:
                with self._lock:
                    if source in self._sources:
                        self._sources.remove(source)
                continue
            for value in values:
                if value not in self._holders:
                    self.learn(value)

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where known values are in a text, and pieces of them, however often they were encoded."""
        if not self._whole:
            return []
        return list(self._places(_Reading(text, lambda: (range(len(text)), range(1, len(text) + 1))), _DEPTH))

    def _places(self, reading: _Reading, depth: int) -> Iterator[tuple[int, int]]:
        readings = [reading]
        while len(readings) <= _DEPTH and (spelt := _without(readings[-1], _SPELT, _meant)):
            readings.append(spelt)
        if _NUMBERS.search(reading.text) and (listed := _without(reading, _NUMBER, lambda found: chr(int(found[1])))):
            readings.insert(0, listed)
        encoded = readings[-1:]
        if joined := _without(readings[-1], _BETWEEN, ""):
            readings.append(joined)
            encoded = [joined, *(encoded if _MARKED.search(encoded[0].text) else ())]
        for each in readings:
            for begin, end in self._seen(each.text):
                begins, ends = each.places
                yield begins[begin], ends[end - 1]
        for each in encoded if depth else ():
            for decoded in _decoded(each, self._may_hold):
                yield from self._places(decoded, depth - 1)

    def _may_hold(self, text: str) -> bool:
        """Whether it is worth looking in what was decoded: what never was encoded becomes rubbish."""
        text = text.replace("\0", "")
        return bool(_RUN.search(text)) or any(form in text for forms in tuple(self._whole.values()) for form in forms)

    def _seen(self, text: str) -> Iterator[tuple[int, int]]:
        """Where values are in a text, and pieces of them, as they are written there."""
        for forms in tuple(self._whole.values()):
            for form in forms:
                if form in text:
                    yield from (found.span() for found in re.finditer(re.escape(form), text))
        alike, grams, done = _alike(text), self._grams, 0
        for run in _RUN.finditer(text) if grams else ():
            for at in [at for at in range(run.start(), run.end() - _GRAM + 1) if alike[at : at + _GRAM] in grams]:
                if at < done:
                    continue
                places = grams.get(alike[at : at + _GRAM], ())
                begin, end = max(
                    (_extended(alike, at, form, place, done) for form, place in places),
                    key=lambda span: span[1] - span[0],
                    default=(at, at),
                )
                if end - begin >= PIECE:
                    yield begin, end
                    done = end


def _alike(text: str) -> str:
    """A text as values are compared: whatever the case of their letters, and with base64's two alphabets as one."""
    small = text.lower()
    if len(small) != len(text):  # of a few letters there is no small one of the same length, and places are counted
        small = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    return small.replace("-", "+").replace("_", "/")


def _extended(text: str, at: int, form: str, place: int, least: int) -> tuple[int, int]:
    """Where that begins and ends in a text which is like a form around a place where both are alike."""
    begin, end, last = at, at + _GRAM, place + _GRAM
    while begin > least and place and text[begin - 1] == form[place - 1]:
        begin, place = begin - 1, place - 1
    while last < len(form) and end < len(text) and text[end] == form[last]:
        end, last = end + 1, last + 1
    return begin, end


def _grams(value: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """By what a piece of a value is found, each with the form that has it, and where."""
    if value.lstrip().startswith(("{", "[")):  # a document has words that are no secret
        return
    for form in {_alike(word) for word in value.split() if len(word) >= PIECE}:
        times: Counter[str] = Counter()
        for place in range(0, len(form) - _GRAM + 1, _EVERY):
            gram = form[place : place + _GRAM]
            times[gram] += 1
            # What comes again and again, as in a long row of the same, is no sign of anything, and there is much of it.
            if gram != gram[0] * _GRAM and times[gram] <= _AGAIN:
                yield gram, (form, place)


def _whole_forms(value: str) -> tuple[str, ...]:
    """A value as it is found as a whole: as it is, with a form's sign for a space, joined; in the bytes of its UTF-8 too."""
    forms = {value, value.replace(" ", "+"), _BETWEEN.sub("", value)}
    forms |= {form.encode("utf-8", "surrogatepass").decode("latin-1") for form in forms}
    return tuple(form for form in forms if len(form) >= _SHORTEST)


class _Reading:
    """A text as it is read when one encoding more is undone.

    Args:
        text: what is read.
        places: answers where each of its characters begins in the text as it came, and where it ends there. Few texts have
            anything to hide, and only for these it is asked.
    """

    def __init__(self, text: str, places: Callable[[], tuple[Sequence[int], Sequence[int]]]) -> None:
        self.text = text
        self._places = places

    @cached_property
    def places(self) -> tuple[Sequence[int], Sequence[int]]:
        """Where the characters begin, and where they end."""
        return self._places()


def _without(
    reading: _Reading, pattern: re.Pattern[str], meaning: str | Callable[[re.Match[str]], str]
) -> _Reading | None:
    """A text with something in it replaced by one character or by nothing; None where it has nothing of it."""
    text, times = pattern.subn(meaning, reading.text)

    def places() -> tuple[Sequence[int], Sequence[int]]:
        begins, ends = reading.places
        new_begins: list[int] = []
        new_ends: list[int] = []
        done = 0
        for found in pattern.finditer(reading.text):
            first, last = found.span()
            new_begins += begins[done:first]
            new_ends += ends[done:first]
            if meaning:
                new_begins.append(begins[first])
                new_ends.append(ends[last - 1])
            done = last
        return [*new_begins, *begins[done:]], [*new_ends, *ends[done:]]

    return _Reading(text, places) if times else None


def _meant(found: re.Match[str]) -> str:
    """The character that is spelt; of what is a byte of UTF-8, that byte."""
    spelt = found[0]
    if spelt[0] == "&":
        meant = html.unescape(spelt)
        return meant if len(meant) == 1 else spelt[0]
    if spelt[0] == "%" or spelt[1] in "xuU":
        if len(spelt) == 12:
            return spelt.encode("ascii").decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16")
        return chr(min(int(spelt.lstrip("%\\xuU"), 16), 0x10FFFF))
    return chr(int(spelt[1:], 8)) if spelt[1] in "0123" else _CONTROL.get(spelt[1], spelt[1])


def _decoded(reading: _Reading, worth: Callable[[str], bool]) -> Iterator[_Reading]:
    """What is in a text's base64 and hexadecimal, wherever in it that begins; all else in it becomes rubbish.

    Args:
        reading: the text.
        worth: whether it is worth looking in what was decoded.
    """
    written, last = reading.text.encode("ascii", "replace"), len(reading.text) - 1
    for digits, size, characters, decode in (
        (_BASE64, 4, 3, binascii.a2b_base64),
        (_HEXADECIMAL, 2, 1, binascii.unhexlify),
    ):
        for first in range(size):
            text = written[first:].translate(digits)
            decoded = decode(text + b"A" * (-len(text) % size)).decode("latin-1")
            for part in _TEXT.finditer(decoded) if worth(decoded) else ():
                if worth(part[0]):
                    # In parts of a digit, of which a character of what was decoded has `size`.
                    places = [first * characters + at * size for at in range(*part.span())]
                    begins, ends = reading.places
                    first_ones = [begins[min(place // characters, last)] for place in places]
                    last_ones = [ends[min((place + size - 1) // characters, last)] for place in places]
                    yield _Reading(part[0], lambda spans=(first_ones, last_ones): spans)  # type: ignore[misc]


_known = _Known()
watch = _known.watch


# Before the first letter of a word, after an escape and a colour too.
_BEGINS = r"(?:(?<![\w-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt])|(?<=\[[0-9]m)|(?<=[0-9][0-9]m))"
_NEW_LINE = r"(?:(?:\\[rn]|[\r\n])+[ \t]*)"
_DOT = rf"{_NEW_LINE}?\.{_NEW_LINE}?"
# What names a file is none itself.
_NO_PATH = r"(?!(?:~|\.{0,2})/[\w.-]+/)"
# So many lines, so that a long text of lines that all begin like a JWT is not read to its end from each of them.
_MORE_LINES = rf"(?:{_NEW_LINE}[\w-]++){{0,100}}"

# Shapes of credentials that no reader of a log needs. Each is looked for only where one of the words before it is in the
# text in lower case; of each, the group is masked, or all of it where it has none.
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    # A private key, cut or not, its lines broken or escaped.
    (
        ("private key",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.{0,20000}?-----END [A-Z ]*PRIVATE KEY-----|"
            r"""(?:(?:\s|\\[nr]|["',+])*[A-Za-z0-9+/=]{16,})*)""",
            re.DOTALL,
        ),
    ),
    # A JWT: pull tokens, OIDC tokens; its lines may be broken.
    (
        ("eyj",),
        re.compile(
            rf"{_BEGINS}eyJ[\w-]{{8,}}+{_MORE_LINES}{_DOT}[\w-]++{_MORE_LINES}{_DOT}[\w-]+"
            rf"(?:{_NEW_LINE}[\w-]{{40,}})*"
        ),
    ),
    # The same, cut: its header begins with alg, typ or kid.
    (("eyj",), re.compile(rf"{_BEGINS}eyJ(?:hbGciOi|0eXAiOi|raWQiOi)[\w-]{{4,}}(?:\.[\w-]*)*")),
    # Google's access tokens, refresh tokens, client secrets and API keys.
    (("ya29.",), re.compile(r"ya29\.[\w.-]{8,}")),
    (("1//0", "1%2f%2f0"), re.compile(r"(?<![\w/.])1(?://|%2[fF]%2[fF])0[\w-]{16,}")),
    (("gocspx",), re.compile(r"GOCSPX-[\w-]{12,}")),
    (("aiza",), re.compile(r"(?<![\w-])AIza[\w-]{30,}")),
    # An Authorization header, and what registries and clouds have in its place.
    (("bearer", "basic"), re.compile(r"\b(?i:bearer|basic)(?:\s+|%20)(?=\S*[0-9A-Z=])([\w.~+/=-]{16,})")),
    (
        ("authorization", "x+registry+auth", "cookie", "x+amz+security+token"),
        re.compile(
            r"""(?i:(?:authorization(?:\\?["'])?\s*[:=]\s*b?\\?["']?(?:token|negotiate|digest|aws4-hmac-sha256)\s+|"""
            r"""(?:x-registry-auth|cookie(?=[^\r\n=]{0,99}=)|x-amz-security-token)(?:\\?["'])?\s*[:=]\s*b?\\?["']?))"""
            r"""([^\s"'\\]{8,}[^\r\n"'\\]*)"""
        ),
    ),
    # What has a telling name: in JSON, in Python's or a form's spelling of the same, escaped or not.
    (
        ("token", "secret", "passw", "assertion", "private", "auth"),
        re.compile(
            r"""(?i:(?<![a-z0-9])(?:(?:access|refresh|id|identity|registry|subject|actor|security)_?token|client_?secret|"""
            r"""secret_?access_?key|assertion|private_?key|password|passwd|auth)(?:\\?["']\s*:\s*b?\\?["']|=["']?|%3D))"""
            rf"{_NO_PATH}(?![A-Z_]+(?![\w.~+/=%-]))((?=[\w.~+/%-]*[0-9A-Z])[\w.~+/=%-]{{8,}})"
        ),
    ),
    # The signature of a link, which is all that is needed to follow it.
    (
        ("signature", "sig", "credential", "security"),
        re.compile(
            r"(?i:(?<![a-z0-9])(?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig)(?:=|%3D))"
            rf"{_NO_PATH}((?=[\w.~+/%-]*[0-9])[\w.~+/=%-]{{16,}})"
        ),
    ),
    (("://",), re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@(?!sha(?:256|512):))")),
)
_BY_WORD = tuple((word, shape) for words, shape in _SHAPES for word in words)


def mask(text: str) -> str:
    """Hide every known value, and every piece that has the shape of a credential; all else stays as it is."""
    if len(text) < _SHORTEST:
        return text
    _known.look()
    if text in (clean := _known.clean):
        return text
    alike = _alike(text)
    # All are looked for in the text as it came: what one finds is what another goes by.
    places = _known.places(text)
    # One loop over all words: a widget has hundreds of short texts, and few of them have any.
    for shape in {shape for word, shape in _BY_WORD if word in alike}:
        places += [found.span(shape.groups) for found in shape.finditer(text)]
    if not places:
        if len(text) <= _LONG:
            if len(clean) >= _CLEAN:
                clean.clear()
            clean[text] = None
        return text
    shown: list[str] = []
    done = 0
    for begin, end in sorted(places):
        if begin > done or not shown:
            shown += [text[done:begin], MASK]
        done = max(done, end)
    return "".join(shown) + text[done:]


# A stream's last word may be the beginning of a secret that goes on with what is written next: so much of it is kept back.
LONGEST_WORD = 8192
_LAST_SCHEME = re.compile(r"\b(?:bearer|basic)\s+\Z", re.IGNORECASE)
_LAST_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?!.*-----END).*\Z", re.DOTALL)


def complete(text: str) -> tuple[str, str]:
    """Cut what is written to a stream before what may be the beginning of a secret.

    Returns:
        What can go on, and what waits for the rest.
    """
    end = text[-LONGEST_WORD:]
    key = _LAST_PRIVATE_KEY.search(end)
    rest = end[key.start() :] if key else end[len(end.rstrip(_TOKEN_CHARACTERS + "\\")) :]
    scheme = _LAST_SCHEME.search(end[-len(rest) - 12 : len(end) - len(rest)])
    at = len(text) - len(rest) - (len(scheme[0]) if scheme else 0)
    return text[:at], text[at:]


# C0 but for line breaks and tabs, C1, what turns the reading direction, and what is there and not seen.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """Write characters that steer a terminal, turn the reading direction or are not seen as their numbers: a label may hold any.

    Line breaks and tabs stay.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def redact(text: str) -> str:
    """What all that we say passes, in files, on a terminal and on a page: masked, and nothing in it steers a terminal."""
    return visible(mask(text))


def one_line(text: str, most: int = 400) -> str:
    """Somebody else's text in one line; masked before it is cut, for half a secret would not be known for one.

    Args:
        most: how many characters are kept.
    """
    line = mask("".join(character for character in " ".join(text.split()) if character.isprintable()))
    return line if len(line) <= most else f"{line[:most]}..."


def redact_all(value: Any) -> Any:
    """A copy of JSON-like data in which every text, keys included, went through `redact`."""
    return _each(value, redact)


def mask_all(value: Any) -> Any:
    """The same with `mask`, for what others say: a traceback has colours."""
    return _each(value, mask)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {change(str(key)): _each(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_each(item, change) for item in value]
    return value
