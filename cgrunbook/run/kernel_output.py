"""What leaves a notebook's kernel is masked there, where the secrets are known: every message, and what its process writes.

It knows ipykernel's session and streams. What a secret is, is in redaction.py.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import json
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from cgrunbook.redaction import LONGEST_WORD, complete, mask, mask_all

# What may be the beginning of a secret waits so many seconds for its rest.
SECONDS = 1.0

# Buffers beyond this are pictures and tables of numbers, and searching them takes long.
_LARGEST_BUFFER = 1024 * 1024


def mask_all_output(shell: Any) -> None:
    """Mask from now on all that a kernel says, on every channel, and what goes to the terminal that it was started in.

    Args:
        shell: IPython's shell in ipykernel; with another's, or None, and in a second call, nothing is changed.
    """
    kernel = getattr(shell, "kernel", None)
    # Another program's kernel, xeus-python's say, has a shell of IPython's and no session of ipykernel's to mask.
    send = getattr(getattr(kernel, "session", None), "send", None)
    if kernel is None or send is None or isinstance(getattr(send, "__self__", None), _Sender):
        return
    kernel.session.send = _Sender(kernel).send
    for stream in (sys.stdout, sys.stderr):
        copy = getattr(stream, "_original_stdstream_copy", None)
        if copy is not None:
            _mask_terminal(copy)


def hear_output(kernel: Any, heard: Callable[[dict[str, Any]], None]) -> None:
    """Hear from now on of each message that a kernel sends whose output is masked, when it has left."""
    sender = getattr(kernel.session.send, "__self__", None)
    if isinstance(sender, _Sender):
        sender.heard = heard


class _Sender:
    """The session's `send`, by which all messages leave, with their contents masked."""

    def __init__(self, kernel: Any) -> None:
        self._session = kernel.session
        self._send = kernel.session.send
        self._iopub = kernel.iopub_socket
        self._loop = self._iopub.io_thread.io_loop
        self._process = os.getpid()
        self.heard: Callable[[dict[str, Any]], None] | None = None
        # What waits for its rest: the message that it came with and what it was sent by, by cell and stream. It is never
        # sent with the lock held: the thread that sends may be waiting for it.
        self._waiting: dict[tuple[str, str], tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]] = {}
        self._lock = threading.Lock()

    def send(  # noqa: PLR0917 - the session's
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> Any:
        """Take what `jupyter_client.session.Session.send` takes, and answer what it answers."""
        if isinstance(msg_or_type, str):
            message = self._session.msg(msg_or_type, content=content, parent=parent, header=header, metadata=metadata)
        else:
            message = dict(msg_or_type)
            buffers = buffers or message.get("buffers")
        kind = message["header"]["msg_type"]
        cell = str((message.get("parent_header") or {}).get("msg_id", ""))

        def go(whole: dict[str, Any]) -> Any:
            sent = self._send(stream, whole, ident=ident, buffers=buffers, track=track)
            if self.heard and stream is self._iopub:
                self.heard(whole)
            return sent

        # A fork has no thread that would send what waits, and what its parent's waits for is the parent's.
        alone = os.getpid() != self._process
        if kind != "stream":
            if not alone and not kind.startswith("comm"):
                self._go_on(cell)
            message["content"] = _masked(message.get("content"))
            message["metadata"] = mask_all(message.get("metadata") or {})
            buffers = [_masked_buffer(buffer) for buffer in buffers or ()]
            return go(message)
        name, text = message["content"]["name"], message["content"]["text"]
        if not alone:
            self._go_on(cell, but=name)
            with self._lock:
                before = self._waiting.pop((cell, name), None)
                text, rest = complete((before[0]["content"]["text"] if before else "") + text)
                if rest and not before and len(text) < LONGEST_WORD:
                    text, rest = "", text + rest  # whole, for it comes as one output where nothing follows
                if rest and before and not text:
                    # It waits no longer for being added to: dots that come one by one would never be seen.
                    before[0]["content"]["text"] = rest
                    self._waiting[cell, name] = before
                elif rest:
                    content = {"name": name, "text": rest}
                    later = self._session.msg("stream", content, parent=message["parent_header"])
                    self._waiting[cell, name] = (later, go)
                    self._loop.add_callback(self._loop.call_later, SECONDS, self._go_on, cell, None, later)
        # An empty output is none.
        return go({**message, "content": {"name": name, "text": mask(text)}}) if text else None

    def _go_on(self, cell: str, but: str | None = None, waiting: dict[str, Any] | None = None) -> None:
        """Send what waits of a cell.

        Args:
            cell: the message that it belongs to.
            but: a stream that goes on waiting.
            waiting: only this message, if it still waits.
        """
        if not self._waiting:
            return
        with self._lock:
            keys = [key for key in self._waiting if key[0] == cell and key[1] != but]
            if waiting is not None:
                keys = [key for key in keys if self._waiting[key][0] is waiting]
            found = [self._waiting.pop(key) for key in keys]
        for message, go in found:
            message["content"]["text"] = mask(message["content"]["text"])
            go(message)


def _masked(content: Any) -> Any:
    if isinstance(content, bytes | str):  # packed already
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        return json.dumps(mask_all(json.loads(text)))
    return mask_all(content or {})


def _masked_buffer(buffer: Any) -> Any:
    view = memoryview(buffer)
    if view.nbytes > _LARGEST_BUFFER:
        return buffer
    text = bytes(view).decode("latin-1")
    masked = mask(text)
    return buffer if masked == text else masked.encode("latin-1")


def _mask_terminal(descriptor: int) -> None:
    """Put the mask between a descriptor and what it was open on: ipykernel repeats there what the process itself writes."""
    terminal = os.dup(descriptor)
    reader, writer = os.pipe()
    os.dup2(writer, descriptor, inheritable=False)
    os.close(writer)
    over = threading.Event()

    def read() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        text = ""
        while True:
            ready = select.select([reader], [], [], SECONDS if text else None)[0]
            part = os.read(reader, 65536) if ready else b""
            done, text = complete(text + decoder.decode(part)) if part else (text, "")
            with contextlib.suppress(OSError):  # a terminal that is gone must not keep the process from writing
                os.write(terminal, mask(done).encode("utf-8", "surrogateescape"))
            if ready and not part:
                break
        over.set()

    def end() -> None:
        os.dup2(terminal, descriptor)  # with it goes the only way in, so that the reader comes to its end
        over.wait(SECONDS)

    threading.Thread(target=read, name="masked terminal", daemon=True).start()
    atexit.register(end)
