"""A Python that has imported what cgrunbook imports, and forks: for tests that start dozens of command lines and kernels.

Two thirds of such a process are its imports. A child that was forked goes on as `python -m cgrunbook` or as a headless kernel does,
with arguments, environment, folder, streams, session and process id of its own, and how it ends is told to whoever asked for it.
Its kernels are forked from the same Python. What an interpreter itself does at its start (PYTHONPATH, sitecustomize) is not done
again, /proc says what was said when the Python began, and a kernel outlives a command line that is killed: whoever tests that
starts a process as usual.

    python -m tests.warm_python SOCKET
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]

# What the command line and its kernels import sooner or later, beside what a headless kernel imports ahead.
_IMPORTED = (
    *("ipykernel.kernelapp", "ipykernel.debugger", "tornado.platform.asyncio", "IPython.extensions.storemagic"),
    *(
        "cgrunbook.cli",
        "cgrunbook.cli.tables",
        "cgrunbook.cli.watcher",
        "cgrunbook.run.engine",
        "cgrunbook.run.early_end",
    ),
    *(
        "cgrunbook.sandbox.process",
        "cgrunbook.steps",
        "cgrunbook.cloud.docker",
        "cgrunbook.cloud.pubsub",
        "cgrunbook.ui.end_card",
    ),
    *("google.cloud.resourcemanager_v3", "google.cloud.service_usage_v1"),
    *("rich.console", "rich.table", "jinja2", "resource", "docker"),
)


class Forked(subprocess.Popen[Any]):
    """`subprocess.Popen`, but for command lines and headless kernels.

    Attributes:
        server: the socket of the Python that is forked from.
        whatever: whether any other command that begins with this Python is forked, too.
    """

    server = ""
    whatever = False
    _told: socket.socket | None = None

    def _execute_child(self, *given: Any) -> None:
        args, executable, preexec_fn, _, pass_fds, cwd, env, *more = given
        command = [os.fsdecode(word) for word in args] if isinstance(args, list | tuple) else []
        if preexec_fn or pass_fds or executable or not self._can_be_forked(command):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = more[3:9]
        asked = {
            "words": command[1:],
            "environment": dict(os.environ if env is None else env),
            "folder": os.fspath(cwd or Path.cwd()),
            "session": more[-2],
        }
        self._told = socket.socket(socket.AF_UNIX)
        self._told.connect(self.server)
        streams = [number if fd == -1 else fd for number, fd in enumerate((p2cread, c2pwrite, errwrite))]
        socket.send_fds(self._told, [b"\n"], streams)
        self._told.sendall(json.dumps(asked).encode() + b"\n")
        self.pid = int(self._told.recv(32))
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _can_be_forked(self, command: list[str]) -> bool:
        from cgrunbook.run.kernels import QUICKLY

        known = self.whatever or command[1:3] == ["-m", "cgrunbook"] or command[1:4] == ["-P", "-c", QUICKLY]
        return known and command[0] == sys.executable

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._told is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc,no-any-return]
        if wait_flags & os.WNOHANG and not select.select([self._told], [], [], 0)[0]:
            return 0, 0
        with self._told:
            return self.pid, int(self._told.recv(32) or signal.SIGKILL)  # or the Python itself was killed

    def _internal_poll(self, *more: Any, **named: Any) -> int | None:
        if self._told is None or self.returncode is not None:
            return super()._internal_poll(*more, **named)  # type: ignore[misc,no-any-return]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode


@contextlib.contextmanager
def warm_python(*entering: str, path: Path) -> Iterator[None]:
    """Start the Python that is forked from; it ends with what is left of its children.

    Args:
        entering: the words that lead to where it works, if that is not here.
        path: of its socket, which may be a hundred characters long.
    """
    command = [*entering, sys.executable, "-m", __name__, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.stdin.close()


@contextlib.contextmanager
def forking(path: Path, *, whatever: bool = False) -> Iterator[None]:
    """While this lasts, what can be forked is, from the Python that listens there; see `Forked`."""
    from jupyter_client import launcher

    kind = forked_from(path, whatever=whatever)
    with patch.object(subprocess, "Popen", kind), patch.object(launcher, "Popen", kind):
        yield


def forked_from(path: Path, *, whatever: bool = False) -> type[Forked]:
    """The kind of process that is forked from the Python that listens there; see `Forked`."""
    return type("ForkedFrom", (Forked,), {"server": str(path), "whatever": whatever})


def wait_and_fork(path: str) -> list[str]:
    """Fork for each request; returns in each child, with what it is to run."""
    told: dict[int, socket.socket] = {}
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        watched: list[Any] = [0, ended, listening]
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select(watched, [], [])
            if ended in ready:
                os.read(ended, 4096)
                _bury(told)
            if 0 in ready:
                for child in told:
                    os.kill(child, signal.SIGKILL)
                os._exit(0)
            if listening not in ready:
                continue
            connection, _ = listening.accept()
            _, streams, _, _ = socket.recv_fds(connection, 1, 3)
            with connection.makefile("rb") as lines:
                asked: dict[str, Any] = json.loads(lines.readline())
            child = os.fork()
            if not child:
                break
            told[child] = connection
            for stream in streams:
                os.close(stream)
    _become(asked, streams)
    connection.sendall(str(os.getpid()).encode())
    for each in (connection, *told.values()):
        each.close()
    for pipe in (ended, wake):
        os.close(pipe)
    return list(asked["words"])


def _bury(told: dict[int, socket.socket]) -> None:
    """Say of each child that has ended how it did."""
    for child in list(told):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with told.pop(child) as connection, contextlib.suppress(OSError):  # nobody wants to know
                connection.sendall(str(status).encode())


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Take on what a process has from whoever starts it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if asked["session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    tempfile.tempdir = None


def run(words: list[str]) -> None:
    """Do what Python does with these words, `[-P] -m MODULE ...` or `[-P] -c CODE ...`."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if words[0] == "-P":
        words = words[1:]
    else:
        sys.path.insert(0, str(Path.cwd()))
    sys.argv = ["-c", *words[2:]]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy._run_module_as_main(words[1])  # type: ignore[attr-defined]
    else:
        exec(words[1], main.__dict__)


def serve(path: str) -> None:
    """Import, wait, and be in each child what it was forked for."""
    from cgrunbook.run import headless, report

    sys.modules["debugpy"] = None  # type: ignore[assignment] # a headless kernel has none either
    with forking(Path(path)), headless._absent("rfc3987_syntax"):
        for name in (*_IMPORTED, *headless._IMPORTED_AHEAD):
            importlib.import_module(name)
        report._template()
        gc.collect()
        gc.freeze()
        assert threading.active_count() == 1
        words = wait_and_fork(path)
        del sys.modules["debugpy"]
        run(words)


if __name__ == "__main__":
    importlib.import_module("tests.warm_python").serve(sys.argv[1])
