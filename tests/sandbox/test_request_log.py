"""The request log: who asked what, and what came of it, for a person; bounded, and without secrets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from itertools import islice
from pathlib import Path

import pytest

from cgrunbook.sandbox import hosts, process, request_log
from cgrunbook.sandbox.request_log import Line, Reader, RequestLog
from tests.sandbox.conftest import Api


def line(number: int = 1, **fields: object) -> Line:
    given = {
        "time": "2026-11-23T15:00:00.123+00:00", "service": "cgr.dev", "client": "docker", "principal": None, "method": "GET",
        "path": f"/v2/{number}", "status": 200, "milliseconds": 1.4,
    }  # fmt: skip
    return Line(**(given | fields))  # type: ignore[arg-type]


def written(folder: Path, *lines: Line, most_bytes: int = request_log.MOST_BYTES) -> None:
    with contextlib.closing(RequestLog(folder / request_log.FILE, most_bytes)) as log:
        for one in lines:
            log.write(one)


def test_a_line_says_time_client_request_status_duration_and_what_it_means() -> None:
    shown = request_log.shown(line(status=401, hint="a challenge: fetch a token"), colours=False)
    assert shown.endswith("docker         GET    cgr.dev/v2/1  401  1 ms  a challenge: fetch a token")
    assert ":00.123" in shown


def test_parameters_that_say_nothing_are_left_out() -> None:
    shown = request_log.shown(
        line(path="/v1/x?alt=json&filter=state:ENABLED&key=...&$alt=json;enum-encoding=int"), colours=False
    )
    assert "/v1/x?filter=state:ENABLED  200" in shown
    assert "/v1/x  200" in request_log.shown(line(path="/v1/x?X-Amz-Signature=..."), colours=False)


def test_colours_are_for_terminals() -> None:
    assert "\x1b" not in request_log.shown(line(hint="x"), colours=False)
    assert "\x1b[32m200\x1b[0m" in request_log.shown(line(), colours=True)
    assert "\x1b[33m404\x1b[0m" in request_log.shown(line(status=404), colours=True)


def test_nothing_that_a_client_sends_moves_the_terminals_cursor() -> None:
    nasty = request_log.shown(line(path="/v2/\x1b[2J\n\x9b", client="\x07", hint="\r"), colours=False)
    assert nasty.isprintable()


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("google-cloud-sdk gcloud/528.0.0 command/gcloud.secrets.list", "gcloud"),
        ("google-api-go-client/0.5 Terraform/1.11.4 terraform-provider-google/7", "terraform"),
        ("gl-python/3.11 rest/2.32 gax/2.24 gapic/2.20", "python client"),
        (
            "docker/26.1.5 go/go1.22 git-commit/x kernel/6 os/linux arch/amd64 UpstreamClient(Docker-Client/26)",
            "docker",
        ),
        ("skopeo/1.18.0", "skopeo"),
        ("containers/5.29.2 (github.com/containers/image)", "podman"),
        ("crane/0.20 go-containerregistry/0.20", "crane"),
        ("curl/8.14", "curl"),
        ("", "-"),
        ("\x1b[2J", "-"),
    ],
)
def test_clients_are_called_what_people_call_them(agent: str, name: str) -> None:
    assert request_log.client_of(agent) == name


def test_the_file_and_the_one_before_it_are_bounded_and_the_newest_lines_stay(tmp_path: Path) -> None:
    written(tmp_path, *(line(number) for number in range(500)), most_bytes=10_000)
    sizes = [path.stat().st_size for path in (tmp_path / "log").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 10_000
    kept = [one.path for one in Reader(tmp_path).kept()]
    assert kept == [f"/v2/{number}" for number in range(500 - len(kept), 500)]
    assert len(kept) > 40


def test_one_enormous_request_is_cut_and_not_kept_whole(tmp_path: Path) -> None:
    written(tmp_path, line(path="/" + "x" * 100_000, hint="y" * 100_000))
    assert (tmp_path / request_log.FILE).stat().st_size < 4000


def test_following_goes_on_through_a_change_of_the_file_and_misses_nothing(tmp_path: Path) -> None:
    written(tmp_path, line(0))
    reader = Reader(tmp_path)
    found = [one.path for one in reader.kept()]
    log = RequestLog(tmp_path / request_log.FILE, most_bytes=4000)

    def write() -> None:
        for number in range(1, 41):
            log.write(line(number))
            seen.acquire()

    seen = threading.Semaphore(5)  # the reader keeps up, so that no file is put aside twice between two looks
    writer = threading.Thread(target=write)
    writer.start()
    for one in islice(reader.follow(seconds_between=0.001), 40):
        found.append(one.path)
        seen.release()
    writer.join()
    log.close()
    assert found == [f"/v2/{number}" for number in range(41)]
    assert (tmp_path / "log" / "requests.jsonl.1").exists()


def test_a_line_that_a_kill_broke_off_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, line(1))
    with (tmp_path / request_log.FILE).open("ab") as stream:
        stream.write(b'{"time": "2026\n')
    written(tmp_path, line(2))
    assert [one.path for one in Reader(tmp_path).kept()] == ["/v2/1", "/v2/2"]


def test_a_refusal_is_told_by_its_own_words_and_a_challenge_by_what_it_is_for(api: Api) -> None:
    api.secrets("GET", "/secrets/none", headers={"user-agent": "curl/8"})
    api.call("GET", hosts.CGR_DEV, "/v2/", token=None)
    api.call("GET", hosts.CGR_DEV, "/v2/UPPER/manifests/x", token=None)
    api.secrets("GET", "/secrets", token=None)
    missing, challenge, malformed, anonymous = list(Reader(api.settings.home).kept())[-4:]
    assert (missing.client, missing.status) == ("curl", 404)
    assert missing.hint == f"Secret [{api.numbered}/secrets/none] not found."
    assert challenge.hint == "a challenge: the client is to fetch a token and ask again"
    assert malformed.hint == "NAME_INVALID: invalid repository name"
    assert anonymous.hint.startswith("Request is missing required authentication credential.")


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cgrunbook", "sandbox", "log", *arguments],
        env=os.environ | {"CGRUNBOOK_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_command_shows_the_last_requests_as_text_or_json(tmp_path: Path) -> None:
    assert "No request has been logged yet." in command(tmp_path).stderr
    (tmp_path / "sandbox").mkdir()
    written(tmp_path / "sandbox", *(line(number) for number in range(60)))
    assert len(command(tmp_path).stdout.splitlines()) == 50
    text = command(tmp_path, "-n", "2")
    assert [one.split()[4] for one in text.stdout.splitlines()] == ["200", "200"]
    assert "\x1b" not in text.stdout
    found = json.loads(command(tmp_path, "-n", "1", "--json").stdout)
    assert found["path"] == "/v2/59"


def test_the_command_follows_a_running_sandbox(sandbox: process.Running) -> None:
    following = subprocess.Popen(
        [sys.executable, "-m", "cgrunbook", "sandbox", "log", "--follow", "--json"],
        env=os.environ | {"CGRUNBOOK_HOME": str(sandbox.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    try:
        for agent in ("first/1", "second/1"):
            request = urllib.request.Request(
                f"http://{sandbox.hosts[hosts.CGR_DEV]}/token?scope=repository:chainguard/go:pull",
                headers={"User-Agent": agent, "Authorization": "Basic Y2FuYXJ5OmNhbmFyeQ=="},
            )
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30):
                pass
            text = following.stdout.readline()
            assert json.loads(text)["client"] == agent.partition("/")[0]
            assert "Y2FuYXJ5" not in text
    finally:
        following.kill()
        following.communicate()


def begin(address: str, alpn: tuple[str, ...] | None) -> None:
    """Begin a connection as a client of TLS, or as one of HTTP/2 without TLS does, and see it end."""
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=20) as plain:
        if alpn is None:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            while plain.recv(4096):
                pass
        else:
            context = ssl.create_default_context()
            context.set_alpn_protocols(list(alpn))
            context.wrap_socket(plain, server_hostname="secretmanager.googleapis.com")


def test_who_speaks_grpc_or_tls_is_told_to_use_rest_and_http(sandbox: process.Running) -> None:
    address = sandbox.hosts[hosts.SECRET_MANAGER]
    for alpn in ((), ("h2", "http/1.1"), ("h2",), None):
        begin(address, alpn)
    *tls, over_tls, bare = [one for one in Reader(sandbox.folder).kept() if one.service == hosts.SECRET_MANAGER]
    assert len(tls) == 2
    for one in tls:
        assert (one.client, one.status) == ("TLS client", 400)
        assert one.hint.endswith(f"write http://{address}, not https")
    for one in (over_tls, bare):
        assert one.client == "gRPC client"
        assert one.hint.endswith(f'give the client transport="rest" and api_endpoint="http://{address}"')
        assert one.hint in request_log.shown(one, colours=False)
    assert over_tls.hint.startswith("this is TLS")
    assert bare.hint.startswith("this is HTTP/2")
    assert urllib.request.urlopen(f"http://{address}{hosts.IDENTITY_PATH}").status == 200
