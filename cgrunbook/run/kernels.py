"""Kernels for a headless run: started ahead, spoken to over files that only the user can open, and never left behind.

It knows processes, connection files and signals. It does not know notebooks, papermill, or what a kernel is for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

from cgrunbook.errors import StepFailed, what_helps
from cgrunbook.home import python_path
from cgrunbook.redaction import redact

# How a kernel is started. -P and ignore_cwd: a file of the caller's folder that is named like a module must not stand in
# for it.
_ARGUMENTS = ("-f", "{connection_file}", "--IPKernelApp.ignore_cwd=True")
KERNEL = [sys.executable, "-P", "-m", "ipykernel_launcher", *_ARGUMENTS]

# A sixth of a kernel's start is the import of a debugger that nobody uses without a front end, and the search for circles
# in what was imported to stay.
QUICKLY = """
import gc, sys
gc.disable()
sys.modules["debugpy"] = None
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""
_STARTED = ("__import__('gc').enable()", "__import__('sys').modules.pop('debugpy', None)")

# A kernel's folder, in the temporary one: so it is called when it is ready, and that is in it.
_PREFIX = "cgrunbook-kernel-"
_ITS_FILES = re.compile(r"k(-ipc-\d+|\.json)|ipython|kernel-[0-9a-f-]{36}(-ipc-\d+|\.json)|jpserver-.*|.*cookie_secret")
# A socket's path may have 107 characters on Linux and 103 on macOS; the folder's and the file's names take 45 of them.
_LONGEST_PLACE = 58

# Seconds for a kernel that was asked to end.
_PATIENCE = 3.0

# How many bytes of what a kernel's process says outside its cells is kept for the case that it dies.
_LAST_WORDS = 4000


class _Manager(AsyncKernelManager):
    """jupyter_client's manager, bound to this interpreter instead of a kernelspec found by name on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[
                *(sys.executable, "-P", "-c", QUICKLY, *_ARGUMENTS),
                *("--HistoryManager.hist_file=:memory:", "--IPKernelApp.exec_PYTHONSTARTUP=False"),
            ],
            display_name="Python 3",
            language="python",
        )


class Kernel:
    """One kernel's process.

    Args:
        environment: the variables of its process, beside those of this one; a None takes one away.
        ahead: lines that it runs while it starts; what they name shows in the notebook.
    """

    def __init__(self, environment: Mapping[str, str | None], ahead: Sequence[str] = ()) -> None:
        self._folder, self._lock = private_folder()
        self.manager = _Manager(transport="ipc", connection_file=str(self._folder / "k.json"), kernel_name="python3")
        self._last_words = b""
        self._asked_to_end = False
        reader, writer = os.pipe()
        try:
            # A profile of the user's (~/.ipython) has no say in a run that must come out the same on every machine.
            own = {"IPYTHONDIR": str(self._folder / "ipython"), "PYTHONPATH": python_path()}
            changes = {**own, **environment}
            variables = {key: value for key, value in (os.environ | changes).items() if value is not None}
            run_sync(self.manager.start_kernel)(
                extra_arguments=[f"--IPKernelApp.exec_lines={line}" for line in (*ahead, *_STARTED)],
                env=variables,
                stdout=writer,
                stderr=writer,
                cwd=str(Path.cwd()),
            )
        except BaseException as error:
            os.close(reader)
            self._remove_folder()
            if isinstance(error, OSError):
                raise _no_place(error) from error
            raise
        finally:
            os.close(writer)
        self._process: Any = self.manager.provisioner.process  # type: ignore[union-attr] # the local provisioner's Popen
        self._listener = threading.Thread(target=self._listen, args=(reader,), name="kernel's last words", daemon=True)
        self._listener.start()

    def _listen(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while part := pipe.read(4096):
                self._last_words = (self._last_words + part)[-_LAST_WORDS:]

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and what it started, as JupyterLab's stop button does."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the kernel and what it started at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(self._process.pid, number)  # it leads a process group of its own

    def how_it_ended(self) -> str:
        """Say how the process ended, for the person who wonders why; empty while it lives."""
        code = self._process.poll()
        if code is None:
            return ""
        if code == -signal.SIGKILL:
            return "it was killed (SIGKILL), which is what the system does to a process that takes too much memory"
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
        self._listener.join(timeout=1)
        said = redact(self._last_words.decode(errors="replace")).strip().splitlines()
        return f"it ended with exit code {code}" + (f" and said last: {said[-1]}" if said else "")

    def ask_to_end(self) -> None:
        """Ask the kernel to shut down, without waiting."""
        self._asked_to_end = True
        if self._process.poll() is None:
            run_sync(self.manager._async_request_shutdown)()  # noqa: SLF001 - the public one is the same, for blocking use

    def end(self) -> None:
        """Make sure that the process is gone, and its files with it; one that was asked to end gets a moment."""
        try:
            if self._asked_to_end:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_PATIENCE)
            self.kill()
            self._process.wait()
        finally:
            run_sync(self.manager.cleanup_resources)()
            self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


class Kernels(contextlib.ExitStack):
    """A pool of one: while one kernel works, the next one starts.

    Used as a context manager; no kernel outlives it. `needed` says how many will be asked for, and nobody may ask for more.
    """

    def __init__(self, needed: int, environment: Mapping[str, str | None], ahead: Sequence[str] = ()) -> None:
        super().__init__()
        self._needed = needed
        self._environment = environment
        self._lines = ahead
        self._ahead: Kernel | None = None

    def start_ahead(self) -> None:
        """Start the next kernel, if one more is needed and none is there."""
        if self._needed and self._ahead is None:
            self._needed -= 1
            self._ahead = Kernel(self._environment, self._lines)
            self.callback(self._ahead.end)

    def take(self) -> Kernel:
        """Hand out the next kernel. Whoever takes it asks it to end when done; it does while others go on."""
        self.start_ahead()
        if self._ahead is None:
            raise RuntimeError("more kernels were taken than were announced")
        kernel, self._ahead = self._ahead, None
        return kernel


class Stop:
    """The wish that a notebook ends early: the first interrupts the running cell, the second kills the kernel.

    A wish that comes before a cell's code runs is kept until it does: a kernel at rest would not hear an interrupt.

    Attributes:
        reason: `timeout`, or the name of the signal that was the first wish; empty while there is none.
        kernel: the one to stop.

    Args:
        grace: seconds that a cell has to end by itself after its time was over; a step gives its own calls 30.
    """

    def __init__(self, grace: float = 40.0) -> None:
        self.reason = ""
        self.kernel: Kernel | None = None
        self._grace = grace
        self._executing = False
        self._wake: Callable[[], object] = lambda: None
        # Popped by whoever delivers the interrupt: the only thing here that a signal handler and a timer could both do.
        self._tickets = [1]
        self._timer: threading.Timer | None = None

    def wish(self, reason: str) -> None:
        """Interrupt what runs; the second time kill it."""
        if not self.reason:
            self.reason = reason
            self._deliver()
        elif self.kernel is not None:
            self.kernel.kill()

    def _deliver(self) -> None:
        if self._executing and self.kernel is not None:
            with contextlib.suppress(IndexError):
                self._tickets.pop()
                self.kernel.interrupt()
                # ipykernel notes an interrupt of a cell that awaits and sleeps on; whatever comes in next wakes it.
                self._wake()

    def cell_sent(self, limit: float) -> None:
        """A cell is on its way to the kernel and may take so many seconds."""
        self._start_timer(limit, self._time_is_over)

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, then)
        self._timer.daemon = True
        self._timer.start()

    def _time_is_over(self) -> None:
        self.wish("timeout")
        self._start_timer(self._grace, lambda: self.wish("timeout"))

    def cell_executes(self, wake: Callable[[], object]) -> None:
        """The kernel has begun with the cell's code, so it hears an interrupt from now on.

        Args:
            wake: sends the kernel anything at all; called from any thread and from a signal handler.
        """
        self._wake = wake
        self._executing = True
        if self.reason:
            self._deliver()

    def cell_ended(self) -> None:
        """The cell is over."""
        self._executing = False
        if self._timer is not None:
            self._timer.cancel()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let Ctrl-C, SIGTERM and a closed terminal be wishes; outside the main thread this changes nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def heard(number: int, _: FrameType | None) -> None:
            self.wish(signal.Signals(number).name)

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup means it
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def private_folder() -> tuple[Path, int]:
    """Make a folder for connection files and sockets, which nobody else may open; take away those of killed processes.

    Returns:
        The folder, and the descriptor whose lock says that it is in use.

    Raises:
        StepFailed: there is no place for it.
    """
    cause: OSError | None = None
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a folder of its own there, mode 0700
        if len(place) <= _LONGEST_PLACE:
            _sweep(Path(place))
            try:
                new = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
                lock = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Nobody sweeps it before it has its name.
                return new.rename(new.with_name(new.name[1:])), lock
            except OSError as error:
                cause = error
    raise _no_place(cause) from cause


def _sweep(place: Path) -> None:
    """Take away the folders of processes of this user that were killed: the system let go of their locks."""
    for folder in place.glob(f"{_PREFIX}????????"):
        with contextlib.suppress(OSError):  # another sweeps it, or it is none of ours
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                mine = os.fstat(lock).st_uid == os.geteuid()
                if mine and all(_ITS_FILES.fullmatch(each.name) for each in folder.iterdir()):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _no_place(cause: OSError | None) -> StepFailed:
    why = (cause.strerror or str(cause)) if cause else "its path is too long"
    return StepFailed(
        f"A kernel cannot be started: its connection file cannot be written in {tempfile.gettempdir()}: {why}.",
        what_helps(cause or OSError(), "set TMPDIR to a folder with a short path that you may write"),
    )
