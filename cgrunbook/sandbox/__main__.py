"""The sandbox's server process: `python -m cgrunbook.sandbox --home DIR`, started by `process.start`.

Knows the order in which the process comes up: lock, log, state, ports, ready. Knows no service.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

import cgrunbook
from cgrunbook.home import VARIABLE, python_path
from cgrunbook.sandbox import process, server
from cgrunbook.sandbox.access_tokens import Tokens
from cgrunbook.sandbox.context import Sandbox, log
from cgrunbook.sandbox.settings import PLANS, Settings
from cgrunbook.sandbox.state import Clock, State, StateOfAnotherVersion


def main(arguments: list[str] | None = None) -> int:
    """Run the server until SIGTERM.

    Returns:
        0 after an orderly end, 1 when the home is served by another process or cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m cgrunbook.sandbox", description="The cgrunbook sandbox's server.")
    parser.add_argument(
        "--home", required=True, type=Path, help="CGRUNBOOK_HOME; the state goes to its folder sandbox/"
    )
    parser.add_argument("--upstream", type=_registry_url, help="URL of a registry that stands in for cgr.dev")
    parser.add_argument("--iam-delay", type=float, help="seconds until an IAM policy takes effect")
    parser.add_argument("--agent-delay", type=float, help="seconds until a new service agent is visible")
    parser.add_argument("--idle", type=float, help="seconds without a request after which the process ends")
    parser.add_argument("--ready-fd", type=int, help="descriptor to write a line to when requests are answered")
    given = parser.parse_args(arguments)
    try:
        return _serve(given)
    except OSError as problem:
        return _refuse(given, problem.errno or 0, f"{given.home} cannot be used: {problem.strerror}")


def _refuse(given: argparse.Namespace, number: int, said: str) -> int:
    """End without having served, and tell the starter why, by the system's number: a log may be what cannot be written."""
    log.error("%s.", said)
    if given.ready_fd is not None:
        with contextlib.suppress(OSError):
            os.write(given.ready_fd, f"{number}\n".encode())
    return 1


def _serve(given: argparse.Namespace) -> int:
    """Serve until the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    home: Path = given.home
    folder = process.folder_of(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)

    life = FileLock(process.life_lock_of(home))
    try:
        life.acquire(timeout=10)
    except Timeout:
        sys.stderr.write(f"Another process serves {home}.\n")
        return 1
    process.write_pid(folder)
    (folder / process.SANDBOX_FILE).unlink(missing_ok=True)
    logging.basicConfig(
        handlers=[_BoundedLog(folder / process.SERVER_LOG)],
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )

    for chatty in ("httpx", "httpcore"):
        # A line for each request, with its query: signed URLs of blobs would end up in the log.
        logging.getLogger(chatty).setLevel(logging.WARNING)

    settings = _settings(given, folder)
    try:
        state = State(folder / "state.db")
        hosts, sockets = _open_hosts(state, folder)
        _give_operator_a_token(folder, settings, Tokens(state, Clock(state)))
        process.write_client_files(home, hosts)
        _install_commands(home, folder)
        sandbox = Sandbox(settings, state, hosts)
    except (sqlite3.Error, StateOfAnotherVersion) as problem:
        number = _ERRNO.get(getattr(problem, "sqlite_errorcode", 0) & 0xFF, 0)
        return _refuse(given, number, f"The state {folder / 'state.db'} cannot be used: {problem}")

    def ready() -> None:
        _tell(folder, settings, hosts)
        log.info("serving %s", home)
        if given.ready_fd is not None:
            try:
                os.write(given.ready_fd, b"ready\n")
            except BrokenPipeError:
                log.info("whoever started this process has gone; serving all the same")
            os.close(given.ready_fd)

    server.serve(sandbox, sockets, server.process_identity(), ready)
    (folder / process.SANDBOX_FILE).unlink(missing_ok=True)
    state.close()
    log.info("ended")
    return 0


# What SQLite's own codes stand for where the place is at fault, and not what is in it.
_ERRNO = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS, sqlite3.SQLITE_IOERR: errno.EIO}


class _BoundedLog(logging.StreamHandler[TextIO]):
    """stderr, which is the log file; when that is full it is copied aside and begun anew.

    Args:
        path: the file that stderr goes to, when it does.
    """

    most_bytes = 2 * 1024 * 1024

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, then make room if there is too much."""
        super().emit(record)
        try:
            descriptor = self.stream.fileno()
            told = os.fstat(descriptor)
            if stat.S_ISREG(told.st_mode) and told.st_size > self.most_bytes:
                shutil.copyfile(self._path, self._path.with_name(self._path.name + ".1"))
                os.ftruncate(descriptor, 0)  # opened to append: whoever writes next writes at the new end
        except OSError:
            self.handleError(record)


def _registry_url(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a registry; write it as http://127.0.0.1:5000")
    return text


def _settings(given: argparse.Namespace, folder: Path) -> Settings:
    return Settings(
        home=folder,
        upstream=given.upstream,
        iam_delay=_seconds(given.iam_delay, "CGRUNBOOK_SANDBOX_IAM_DELAY", Settings.iam_delay),
        agent_delay=_seconds(given.agent_delay, "CGRUNBOOK_SANDBOX_AGENT_DELAY", Settings.agent_delay),
        idle_seconds=_seconds(given.idle, "CGRUNBOOK_SANDBOX_IDLE", 0.0) or None,
        validation_in_operation=os.environ.get("CGRUNBOOK_SANDBOX_VALIDATION_IN_OPERATION", "") == "1",
        chainguard_plan=_plan("CGRUNBOOK_SANDBOX_CHAINGUARD_PLAN"),
        ttl_clamped=os.environ.get("CGRUNBOOK_SANDBOX_TTL_CLAMPED", "") == "1",
    )


def _open_hosts(state: State, folder: Path) -> tuple[dict[str, str], list[socket.socket]]:
    """Bind the ports that were told before, as far as they are free; return each host's address, and the sockets."""
    remembered = {row["host"]: row["port"] for row in state.read().execute("SELECT host, port FROM port")}
    ports, sockets = server.open_sockets(remembered, folder)
    if ports != remembered:
        with state.transaction() as connection:
            connection.execute("DELETE FROM port")
            connection.executemany("INSERT INTO port VALUES (?, ?)", ports.items())
    return {host: f"127.0.0.1:{port}" for host, port in sorted(ports.items())}, sockets


def _tell(folder: Path, settings: Settings, hosts: dict[str, str]) -> None:
    """Write what starters and clients read, when it is true."""
    told = {
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": cgrunbook.__version__,
        "hosts": hosts,
        "project_id": settings.project_id,
        "project_number": settings.project_number,
        "organization": settings.organization,
        "upstream": settings.upstream or "",
    }
    process.write_atomically(folder / process.SANDBOX_FILE, json.dumps(told, indent=2))


def _seconds(argument: float | None, variable: str, default: float) -> float:
    if argument is not None:
        return argument
    value = os.environ.get(variable)
    if not value:
        return default
    try:
        return max(0.0, float(value))
    except ValueError:
        log.warning("%s=%r is no number of seconds; using %s", variable, value, default)
        return default


def _plan(variable: str) -> str:
    plan = os.environ.get(variable) or Settings.chainguard_plan
    if plan in PLANS:
        return plan
    log.warning("%s=%r is none of %s; using %s", variable, plan, ", ".join(PLANS), Settings.chainguard_plan)
    return Settings.chainguard_plan


def _give_operator_a_token(folder: Path, settings: Settings, tokens: Tokens) -> None:
    path = folder / process.TOKEN_FILE
    if path.exists() and (token := path.read_text().strip()):
        tokens.admit(token, settings.operator)
    else:
        process.write_atomically(path, tokens.issue(settings.operator))


def _install_commands(home: Path, folder: Path) -> None:
    """Write the stand-ins' launchers anew at each start: the interpreter may have moved since the last one."""
    for relative, module in (
        ("bin/chainctl", "cgrunbook.sandbox.chainctl"),
        ("bin-fallback/docker-credential-gcloud", "cgrunbook.sandbox.gcloud_helper"),
    ):
        path = folder / relative
        path.parent.mkdir(mode=0o700, exist_ok=True)
        variables = {VARIABLE: str(home), "PYTHONPATH": python_path(process.PACKAGE_ROOT)}
        script = (
            "#!/bin/sh\n"
            + "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
            + f"export {' '.join(variables)}\n"
            f'exec {shlex.quote(sys.executable)} -P -m {module} "$@"\n'
        )
        if not Path("/bin/sh").exists():  # in a container's image that has Python and no shell
            script = (
                f"#!{sys.executable}\nimport os, sys\nos.environ.update({variables!r})\n"
                f"os.execv({sys.executable!r}, [{sys.executable!r}, '-P', '-m', {module!r}, *sys.argv[1:]])\n"
            )
        if not path.exists() or path.read_text() != script:
            process.write_atomically(path, script, mode=0o700)


if __name__ == "__main__":
    sys.exit(main())
