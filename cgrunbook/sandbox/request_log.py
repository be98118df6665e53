"""`log/requests.jsonl`: one line a request, written by the server and read by a trainee; bounded in size.

Knows the line's fields, what makes them readable, and how the file makes room. Knows no service, and is never given a
credential or a payload. Cheap to import: `cgrunbook sandbox log` reads with it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FILE = "log/requests.jsonl"
#: The file that is written and the one before it may each become this large.
MOST_BYTES = 4 * 1024 * 1024
_PREVIOUS = ".1"
_MOST_HINT = 240
_MOST_PATH = 2000

#: A product in a User-Agent that says more than the library in front of it, and what a person calls it.
_CLIENTS = (
    ("google-cloud-sdk", "gcloud"),
    ("gcloud", "gcloud"),
    ("terraform", "terraform"),
    ("gapic/", "python client"),
    ("gl-python", "python client"),
    ("cgrunbook", "cgrunbook"),
    ("cosign", "cosign"),
    ("go-containerregistry", "crane"),
    ("crane", "crane"),
    ("docker", "docker"),
    ("buildkit", "docker"),
    ("containerd", "containerd"),
    ("skopeo", "skopeo"),
    ("containers/", "podman"),
    ("libpod", "podman"),
    ("chainctl", "chainctl"),
)

#: What a status says by itself.
_HINTS = dict.fromkeys((301, 302, 303, 307, 308), "redirected: the content is on the blob host") | {
    0: "the client went away before it was answered",
    206: "a part of it, as asked",
    304: "the client has it already",
}

log = logging.getLogger("cgrunbook.sandbox")


@dataclass(frozen=True)
class Line:
    """One request.

    Args:
        time: when it was answered, RFC 3339 in UTC, of the machine's clock.
        service: real name of the host that was played.
        client: who asked, as a person calls the program: "gcloud", "docker", "curl".
        principal: whose credential it carried, in IAM's member form or a Chainguard identity's id; None for nobody's.
        method: the HTTP method.
        path: path and query; of most query parameters the name only.
        status: the HTTP status; 0 when the caller went away before there was one.
        milliseconds: from the request's arrival to the answer's end.
        hint: one sentence on what happened, "" when the status says it all.
    """

    time: str
    service: str
    client: str
    principal: str | None
    method: str
    path: str
    status: int
    milliseconds: float
    hint: str = ""


class RequestLog:
    """Writes the lines. When the file is full it becomes the previous one, and what was the previous one goes.

    Args:
        path: the file; made 0600 with its folder when absent.
        most_bytes: how large the file may become.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path = path
        self._most = most_bytes
        self._descriptor = self._opened()
        self._size = os.fstat(self._descriptor).st_size

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: Line) -> None:
        """Append one line; a full disk costs the line, never the request."""
        text = json.dumps(_shortened(line), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            if self._size and self._size + len(text) > self._most:
                self._path.replace(self._path.with_name(self._path.name + _PREVIOUS))
                os.close(self._descriptor)
                self._descriptor, self._size = self._opened(), 0
            os.write(self._descriptor, text)
        except OSError as problem:
            log.warning("The request log could not be written: %s", problem)
        else:
            self._size += len(text)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _shortened(line: Line) -> dict[str, Any]:
    fields = dict(vars(line))
    fields["path"] = line.path[:_MOST_PATH]
    fields["hint"] = line.hint[:_MOST_HINT]
    if not fields["hint"]:
        del fields["hint"]
    return fields


def client_of(user_agent: str) -> str:
    """What a person calls the program that sent a User-Agent."""
    lowered = user_agent.lower()
    for part, name in _CLIENTS:
        if part in lowered:
            return name
    product = re.match(r"[A-Za-z][A-Za-z0-9._-]{0,30}", user_agent)
    return product[0] if product is not None else "-"


def hint_of(status: int, message: str, headers: dict[bytes, bytes]) -> str:
    """The one sentence that says what an answer means.

    Args:
        status: the HTTP status.
        message: what the answer's body says of a refusal, "" for nothing.
        headers: the answer's headers by lower-case name.
    """
    challenge = headers.get(b"www-authenticate", b"")
    if status == 401 and challenge.lower().startswith(b"bearer realm=") and b"/token" in challenge:
        return "a challenge: the client is to fetch a token and ask again"
    if status in _HINTS:
        return _HINTS[status]
    return " ".join(message.split())


def other_protocol(data: bytes, address: str) -> tuple[str, str] | None:
    """What a client is called that speaks something else than http, and what it is to do; None for one that does not.

    Args:
        data: the first bytes of a connection.
        address: where they came in, "127.0.0.1:PORT".
    """
    rest = (
        f'the sandbox speaks REST over http only: give the client transport="rest" and api_endpoint="http://{address}"'
    )
    if data.startswith(b"PRI * HTTP/2.0"):
        return "gRPC client", f"this is HTTP/2, as gRPC speaks it; {rest}"
    if not data.startswith(b"\x16\x03"):
        return None
    # The protocols that a client offers in its hello: one of REST takes HTTP/1.1, one of gRPC takes HTTP/2 only.
    if b"\x02h2" in data and b"http/1.1" not in data:
        return "gRPC client", f"this is TLS, as gRPC speaks it; {rest}"
    return "TLS client", f"this is TLS; the sandbox speaks plain http: write http://{address}, not https"


def refusal_in(body: bytes) -> str:
    """The message of a refusal, Google-shaped or registry-shaped; "" when there is none.

    Args:
        body: the beginning of an answer's body.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("message", ""))
    found = document.get("errors")
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return ": ".join(str(found[0][name]) for name in ("code", "message") if found[0].get(name))
    return str(document.get("message", ""))


class Reader:
    """Reads what is kept and then what comes, each line once; through a change of the file and a new sandbox.

    Args:
        folder: the sandbox's state folder; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._previous = self._path.with_name(self._path.name + _PREVIOUS)
        self._file: int | None = None
        self._position = 0
        self._rest = b""

    def kept(self) -> Iterator[Line]:
        """Give what is there, oldest first."""
        yield from _whole(_from(self._previous, 0))[1]
        self._file = _inode(self._path)
        yield from self._new()

    def follow(self, seconds_between: float = 0.2) -> Iterator[Line]:
        """Give what is written after what was read before, for ever.

        Args:
            seconds_between: how long to wait before looking again.
        """
        while True:
            current = _inode(self._path)
            if current != self._file:
                # What was written to the file after the last look, before it was put aside, comes first.
                if self._file is not None and _inode(self._previous) == self._file:
                    yield from _whole(self._rest + _from(self._previous, self._position))[1]
                self._file, self._position, self._rest = current, 0, b""
            before = self._position
            yield from self._new()
            if self._position == before:
                time.sleep(seconds_between)

    def _new(self) -> list[Line]:
        text = _from(self._path, self._position)
        self._position += len(text)
        self._rest, found = _whole(self._rest + text)
        return found


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _from(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(position)
            return stream.read()
    except FileNotFoundError:
        return b""


def _whole(text: bytes) -> tuple[bytes, list[Line]]:
    """Part whole lines from one that is still being written."""
    *whole, rest = text.split(b"\n")
    return rest, [line for part in whole if (line := _read(part.decode("utf-8", "replace"))) is not None]


def _read(text: str) -> Line | None:
    """A line; None for one that a kill broke off."""
    try:
        fields = json.loads(text)
        return Line(**{name: fields[name] for name in Line.__annotations__ if name in fields})
    except (ValueError, TypeError, RecursionError):
        return None


def shown(line: Line, *, colours: bool) -> str:
    """A line as a trainee reads it: time, client, method, host and path, status, milliseconds, hint.

    Args:
        line: what to show.
        colours: whether the reader is a terminal that wants them.
    """
    moment = datetime.fromisoformat(line.time).astimezone().strftime("%H:%M:%S.%f")[:-3]
    status = str(line.status) if line.status else "---"
    paint = {"2": "32", "3": "36", "4": "33", "5": "31", "-": "31"}.get(status[0], "0") if colours else ""
    status = f"\x1b[{paint}m{status}\x1b[0m" if paint else status
    path, _, query = line.path.partition("?")
    # What says nothing: parameters whose values are not kept, and the encoding that every client of Google's asks for.
    said = "&".join(part for part in query.split("&") if part and not part.endswith("=...") and "alt=json" not in part)
    where = f"{line.service}{_printable(path + ('?' + said if said else ''))}"
    text = f"{moment}  {_printable(line.client):<13}  {line.method:<6} {where}  {status}  {line.milliseconds:.0f} ms"
    if line.hint:
        hint = f"  {_printable(line.hint)}"
        text += f"\x1b[2m{hint}\x1b[0m" if colours else hint
    return text


def _printable(text: str) -> str:
    """A text without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
