"""The sandbox's life: start, stop, reset, kills, and what else can be wrong with a home."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import cgrunbook
from cgrunbook.sandbox import __main__ as started
from cgrunbook.sandbox import errors, hosts, process
from cgrunbook.sandbox.state import VERSION
from tests.sandbox.conftest import NewApi
from tests.waiting import wait_for


def ask(running: process.Running, host: str, path: str, *, verb: str = "GET", body: Any = None) -> Any:
    """Call a method of the running sandbox as the operator."""
    token = running.access_token_file.read_text()
    request = urllib.request.Request(
        f"http://{running.hosts[host]}{path}",
        method=verb,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def enable(running: process.Running, *services: str) -> None:
    """Enable APIs in the running sandbox."""
    path = f"/v1/projects/{running.project_id}/services:batchEnable"
    ask(running, hosts.SERVICE_USAGE, path, verb="POST", body={"serviceIds": list(services)})


def secrets_of(running: process.Running) -> list[str]:
    """Return the ids of all secrets."""
    found: list[str] = []
    token = ""
    while True:
        path = f"/v1/projects/{running.project_id}/secrets?pageSize=1000&pageToken={token}"
        page = ask(running, hosts.SECRET_MANAGER, path)
        found += [secret["name"].rpartition("/")[2] for secret in page.get("secrets", ())]
        token = page.get("nextPageToken", "")
        if not token:
            return found


def test_a_started_sandbox_answers_at_once_and_every_host_has_its_own_port(sandbox: process.Running) -> None:
    project = ask(sandbox, hosts.RESOURCE_MANAGER, f"/v3/projects/{sandbox.project_id}")
    assert project["name"] == f"projects/{sandbox.project_number}"
    assert set(sandbox.hosts) == set(hosts.all_host_names())
    assert len(set(sandbox.hosts.values())) == len(sandbox.hosts)


def test_starting_again_returns_the_running_one(sandbox: process.Running) -> None:
    assert process.start(sandbox.home) == sandbox


def test_several_processes_that_start_at_once_get_the_same_sandbox(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cgrunbook.sandbox import process; "
        "print(process.start(Path(sys.argv[1])).pid)"
    )
    command = [sys.executable, "-c", program, str(home)]
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    pids = {starter.communicate(timeout=60)[0].strip() for starter in starters}
    running = process.status(home)
    process.stop(home)
    assert running is not None
    assert pids == {str(running.running.pid)}


def test_state_ports_and_token_survive_a_restart(sandbox: process.Running) -> None:
    token = sandbox.access_token_file.read_text()
    enable(sandbox, hosts.SECRET_MANAGER)
    path = f"/v1/projects/{sandbox.project_id}/secrets?secretId=kept"
    ask(sandbox, hosts.SECRET_MANAGER, path, verb="POST", body={"replication": {"automatic": {}}})
    assert process.stop(sandbox.home)
    again = process.start(sandbox.home)
    assert again.hosts == sandbox.hosts
    assert again.access_token_file.read_text() == token
    assert secrets_of(again) == ["kept"]


def test_a_port_that_somebody_took_meanwhile_is_replaced(sandbox: process.Running) -> None:
    process.stop(sandbox.home)
    taken = sandbox.hosts[hosts.CGR_DEV]
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", int(taken.rpartition(":")[2])))
        thief.listen()
        again = process.start(sandbox.home)
    assert again.hosts[hosts.CGR_DEV] != taken
    others = {host: address for host, address in sandbox.hosts.items() if host != hosts.CGR_DEV}
    assert {host: address for host, address in again.hosts.items() if host != hosts.CGR_DEV} == others


def test_a_hung_sandbox_is_replaced(sandbox: process.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(process, "_STOP_SECONDS", 0.5)
    os.kill(sandbox.pid, signal.SIGSTOP)
    again = process.start(sandbox.home)
    assert again.pid != sandbox.pid


def test_a_stale_file_that_names_a_stranger_is_not_believed(home: Path) -> None:
    running = process.start(home)
    told = (running.folder / process.SANDBOX_FILE).read_text()
    process.stop(home)
    (running.folder / process.SANDBOX_FILE).write_text(told.replace(str(running.pid), "1"))
    assert process.status(home) is None
    again = process.start(home)
    assert again.pid not in {1, running.pid}
    process.stop(home)


@pytest.mark.parametrize(
    "written", ['{"pid": Infinity}', '{"pid": 1, "hosts": {"serviceusage.googleapis.com": "::1:99999"}}']
)
def test_a_file_that_no_sandbox_wrote_is_none(home: Path, written: str) -> None:
    fields = dict.fromkeys(("project_id", "project_number", "organization", "started", "version"), "")
    folder = process.folder_of(home)
    folder.mkdir(parents=True, mode=0o700)
    (folder / process.SANDBOX_FILE).write_text(f"{json.dumps(fields)[:-1]}, {written[1:]}")
    assert process.status(home) is None


def _life() -> str:
    return process._life_of("self")


@pytest.mark.parametrize(
    "written",
    [
        "0\n{life}\n",
        "-1\n{life}\n",
        "1\n{life}\n",
        "{pid}\n",
        "{pid}",
        "{pid}\n\n",
        "{pid}\n{life}\n",  # of another process of ours
        "{pid}\n{boot} pid:[1] {started}\n",  # of another container
        "{pid}\n01234567-89ab-cdef-0123-456789abcdef pid:[4026531836] 5\n",  # before the machine started
        "four\n{life}\n",
        "\x00\xff",
        "",
        None,
    ],
)
def test_a_number_that_is_not_proved_to_be_the_sandboxs_is_never_signalled(
    home: Path, monkeypatch: pytest.MonkeyPatch, written: str | None
) -> None:
    """A process in a container that has the same home holds the lock, and its number means somebody else here."""
    monkeypatch.setattr(process, "_WRITTEN_SECONDS", 0.05)
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: signalled.append(pid))
    folder = process.folder_of(home)
    folder.mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    with FileLock(process.life_lock_of(home)), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as somebody:
        if written is not None:
            boot, _, _ = _life().split()
            started = process._life_of(somebody.pid).split()[-1]
            text = written.format(pid=somebody.pid, life=_life(), boot=boot, started=started)
            (folder / process.PID_FILE).write_text(text)
        for end in (process.stop, process.start, process.reset):
            with pytest.raises(process.SandboxFailure, match="container"):
                end(home)
        assert signalled == []
        assert folder.exists()


def test_stop_leaves_nothing_running_and_says_whether_there_was_something(sandbox: process.Running) -> None:
    assert process.stop(sandbox.home)
    assert process.status(sandbox.home) is None
    assert not process.stop(sandbox.home)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(sandbox.hosts[hosts.CGR_DEV].rpartition(":")[2])), timeout=5)


def test_stop_and_status_of_a_home_that_never_was_make_none(home: Path) -> None:
    assert process.status(home) is None
    assert not process.stop(home)
    process.reset(home)
    assert not home.exists()


def test_reset_leaves_no_trace(sandbox: process.Running) -> None:
    process.reset(sandbox.home)
    assert not sandbox.home.exists()


def test_reset_leaves_what_is_not_the_sandboxs(sandbox: process.Running) -> None:
    (sandbox.home / "other").write_text("kept")
    process.reset(sandbox.home)
    assert [path.name for path in sandbox.home.iterdir()] == ["other"]


def test_status_tells_size_and_counts(sandbox: process.Running) -> None:
    enable(sandbox, hosts.SECRET_MANAGER)
    path = f"/v1/projects/{sandbox.project_id}/secrets?secretId=one"
    ask(sandbox, hosts.SECRET_MANAGER, path, verb="POST", body={"replication": {"automatic": {}}})
    status = process.status(sandbox.home)
    assert status is not None
    assert status.running == sandbox
    assert status.counts["secrets"] == 1
    assert status.size_bytes > 0


def test_nobody_else_can_read_the_state(sandbox: process.Running) -> None:
    assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700
    for path in sandbox.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_ctrl_c_in_the_terminal_does_not_end_it(sandbox: process.Running) -> None:
    os.kill(sandbox.pid, signal.SIGINT)
    assert ask(sandbox, hosts.RESOURCE_MANAGER, f"/v3/projects/{sandbox.project_id}")["state"] == "ACTIVE"
    assert os.getsid(sandbox.pid) == sandbox.pid


def test_a_home_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(process.SandboxFailure, match="CGRUNBOOK_HOME"):
        process.start(tmp_path / "file")


def test_a_home_that_may_not_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:
        closed = Path("/sys")  # root may write everywhere else
    with pytest.raises(process.SandboxFailure, match="CGRUNBOOK_HOME"):
        process.start(closed / "home")


def test_a_state_that_is_no_database_is_told_with_the_way_out(home: Path) -> None:
    folder = process.folder_of(home)
    folder.mkdir(parents=True)
    (folder / "state.db").write_bytes(b"no database " * 100)
    with pytest.raises(process.SandboxFailure, match="sandbox reset") as failure:
        process.start(home)
    assert "state.db" in str(failure.value)
    process.reset(home)
    running = process.start(home)
    assert running.pid
    process.stop(home)


@pytest.mark.parametrize("version", ["0.0.9", "9.0"])
def test_one_of_another_version_that_runs_is_not_used_and_can_be_ended(sandbox: process.Running, version: str) -> None:
    path = sandbox.folder / process.SANDBOX_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(process.SandboxFailure, match=f"of cgrunbook {version}.* cgrunbook sandbox stop$"):
        process.start(sandbox.home)
    assert process.stop(sandbox.home)
    assert process.start(sandbox.home).version == cgrunbook.__version__


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_state_of_another_version_is_taken_over_or_refused_and_never_touched(
    home: Path, sandbox: process.Running, version: int
) -> None:
    enable(sandbox, hosts.SECRET_MANAGER)
    process.stop(home)
    database = process.folder_of(home) / "state.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        connection.execute(f"PRAGMA user_version = {version}")
        before = list(connection.iterdump())
    if version == 0:  # what there was before the first version
        path = f"/v1/projects/{sandbox.project_id}/services/{hosts.SECRET_MANAGER}"
        enabled = ask(process.start(home), hosts.SERVICE_USAGE, path)
        assert enabled["state"] == "ENABLED"
        return
    for use in (process.start, lambda home: process.access_token("user:reader@example.com", home)):
        with pytest.raises(process.SandboxFailure, match=f"is of version {version}.*cgrunbook sandbox reset"):
            use(home)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert list(connection.iterdump()) == before


def test_the_environment_names_what_clients_read(sandbox: process.Running) -> None:
    variables = process.environment(sandbox)
    assert variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_ARTIFACTREGISTRY"] == (
        f"http://{sandbox.hosts[hosts.ARTIFACT_REGISTRY]}/"
    )
    assert variables["GOOGLE_SECRET_MANAGER_CUSTOM_ENDPOINT"].endswith("/v1/")
    assert variables["CGRUNBOOK_SANDBOX_DOCKER_HOST"] == sandbox.docker_host("us-central1")
    path = variables["PATH"].split(os.pathsep)
    assert path[0] == str(sandbox.bin)
    assert path[-1] == str(sandbox.fallback_bin)
    assert variables["CGRUNBOOK_SANDBOX_DOCKER_HOST"] in Path(variables["CONTAINERS_REGISTRIES_CONF"]).read_text()


def test_applying_the_environment_twice_does_not_lengthen_path(
    sandbox: process.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = process.environment(sandbox)["PATH"]
    monkeypatch.setenv("PATH", once)
    assert process.environment(sandbox)["PATH"] == once


def test_an_unknown_location_is_refused_in_a_sentence(sandbox: process.Running) -> None:
    with pytest.raises(process.SandboxFailure, match="mars-north1"):
        sandbox.docker_host("mars-north1")


def test_a_token_for_somebody_else_is_that_persons(sandbox: process.Running) -> None:
    token = process.access_token("user:reader@example.com", sandbox.home)
    path = f"/v1/projects/{sandbox.project_id}:testIamPermissions"
    request = urllib.request.Request(
        f"http://{sandbox.hosts[hosts.RESOURCE_MANAGER]}{path}",
        data=json.dumps({"permissions": ["resourcemanager.projects.get"]}).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == {}


def test_a_sandbox_that_nobody_asks_ends_by_itself_when_it_was_told_to(home: Path) -> None:
    running = process.start(home, idle=1.0)
    wait_for(lambda: not (running.folder / process.SANDBOX_FILE).exists())
    assert "no request for 1 seconds" in (running.folder / process.SERVER_LOG).read_text()
    assert process.status(home) is None


def test_a_sandbox_under_way_with_a_request_is_not_idle(new_api: NewApi) -> None:
    api = new_api()
    assert api.dispatcher.idle_seconds() > 0
    seen = []

    async def slow(*_: Any) -> None:
        seen.append(api.dispatcher.idle_seconds())
        raise errors.NotFound("x")

    api.dispatcher._apps[hosts.SECRET_MANAGER] = slow
    api.secrets("GET", "/secrets")
    assert seen == [0.0]


def test_the_servers_own_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    program = (
        "import logging, pathlib, sys; from cgrunbook.sandbox import __main__ as main; "
        "main._BoundedLog.most_bytes = 10_000; handler = main._BoundedLog(pathlib.Path(sys.argv[1])); "
        "logging.basicConfig(handlers=[handler]); [logging.warning('line %d', number) for number in range(2000)]"
    )
    with path.open("ab") as stream:
        subprocess.run([sys.executable, "-c", program, str(path)], stderr=stream, check=True)
    assert path.stat().st_size <= 10_000
    assert (tmp_path / "server.log.1").stat().st_size <= 11_000
    assert path.read_text().endswith("line 1999\n")


def test_ports_are_below_those_that_the_system_gives_out_and_the_same_after_a_reset(sandbox: process.Running) -> None:
    assert all(20000 <= int(address.rpartition(":")[2]) < 32768 for address in sandbox.hosts.values())
    process.reset(sandbox.home)
    assert process.start(sandbox.home).hosts == sandbox.hosts


def test_no_module_of_the_working_folder_is_run_by_what_plays_commands(
    sandbox: process.Running, tmp_path: Path
) -> None:
    """Neither where Python looks by itself, nor by an empty or relative entry of PYTHONPATH."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("json", "shlex", "typing", "filelock", "cgrunbook", "sitecustomize"):
        (work / f"{name}.py").write_text("raise SystemExit('a file of the working folder was run')")
    for path in (f"{os.pathsep}/nowhere", "."):
        environment = os.environ | {"PYTHONPATH": path}
        for words in (["bin/chainctl", "version"], ["bin-fallback/docker-credential-gcloud", "list"]):
            command = [str(sandbox.folder / words[0]), words[1]]
            subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)


def test_nor_by_the_server(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = process.folder_of(home)
    folder.mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    for place in (folder, tmp_path):
        (place / "json.py").write_text("raise SystemExit('a file of the working folder was run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", ""]))
    try:
        assert process.start(home).pid
    finally:
        process.reset(home)


def test_importing_the_starter_imports_no_server() -> None:
    program = (
        "import sys; import cgrunbook.sandbox.process; "
        "print([name for name in ('uvicorn', 'starlette', 'cryptography', 'httpx') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_the_stand_ins_start_where_there_is_no_shell(
    sandbox: process.Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "with ' and spaces").mkdir()
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/bin/sh" and exists(path))
    started._install_commands(sandbox.home, tmp_path / "with ' and spaces")
    chainctl = tmp_path / "with ' and spaces" / "bin" / "chainctl"
    assert chainctl.read_text().startswith(f"#!{sys.executable}\n")
    starts = [sys.executable] if " " in sys.executable else []  # a kernel takes no space in a first line
    done = subprocess.run(
        [*starts, chainctl, "auth", "status", "--output=json"], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["valid"] is True
