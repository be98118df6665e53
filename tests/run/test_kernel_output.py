"""Nothing leaves a kernel with a secret in it: by no channel, in no encoding, in no two parts, nor to its terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from cgrunbook.redaction import MASK
from cgrunbook.run.kernel_output import mask_all_output
from tests.waiting import wait_for

# The test has the value too, to search for it; it reaches the kernel backwards.
_BEGIN = """\
import base64, logging, os, subprocess, sys, threading, time, warnings
from IPython.display import HTML, clear_output, display
from cgrunbook.redaction import Secret
from cgrunbook.run.kernel_output import mask_all_output
value = {backwards!r}[::-1]
secret = Secret(value)
mask_all_output(get_ipython())
mask_all_output(get_ipython())
"""


def as_text(told: Any) -> str:
    """Messages, with their times and buffers."""
    return json.dumps(told, default=lambda it: bytes(it).decode() if isinstance(it, memoryview) else str(it))


@dataclass
class Kernel:
    client: BlockingKernelClient
    value: str
    terminal: Path

    def run(self, code: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What a cell says on the public channel, and its reply."""
        sent = self.client.execute(code, allow_stdin=False)
        said: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["content"].get("execution_state") == "idle":
                break
            if message["msg_type"] not in ("status", "execute_input"):
                said.append(message)
        # A busy kernel was asked more than once whether it is there, and answers more than once.
        while (reply := self.client.get_shell_msg(timeout=30))["parent_header"].get("msg_id") != sent:
            continue
        return said, reply["content"]

    def found_in(self, *told: Any) -> list[str]:
        text = as_text(told)
        return [self.value[at : at + 10] for at in range(len(self.value) - 9) if self.value[at : at + 10] in text]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("k")
    terminal = folder / "terminal"
    # Two halves that no test's text holds.
    value = "Zq7-" + "kX9_wL2vTb4Rn8YcQ5mJ" + "hG3dS6fPz1EoVi0uKaWx"
    with terminal.open("wb") as file:
        manager = KernelManager(kernel_name="python3")
        # Under pytest ipykernel would not listen to what the process itself writes.
        manager.start_kernel(stdout=file, stderr=subprocess.STDOUT, env=_without_pytest())
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        try:
            made = Kernel(client, value, terminal)
            assert made.run(_BEGIN.format(backwards=value[::-1]))[1]["status"] == "ok"
            yield made
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def _without_pytest() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


LEAKS = {
    "print": "print(value)",
    "standard error": "print('token', value, file=sys.stderr)",
    "letter by letter": "for letter in value:\n    sys.stdout.write(letter); sys.stdout.flush()",
    "in two writes, far apart": "print('a', value[:14], end='', flush=True); time.sleep(.5); print(value[14:], 'b')",
    "a handler of logging": "logging.getLogger('x').addHandler(logging.StreamHandler()); logging.getLogger('x').error(value)",
    "logging's last resort": "logging.getLogger('y').error('malformed: %s', {'it': value})",
    "a warning": "warnings.warn(value)",
    "a thread": "thread = threading.Thread(target=lambda: print(value)); thread.start(); thread.join()",
    "a thread's exception": "thread = threading.Thread(target=lambda: {}[value]); thread.start(); thread.join()",
    "file descriptor 1": "os.write(1, value.encode()); time.sleep(.5)",
    "file descriptor 2, in two writes": "for part in value[:9], value[9:]:\n    os.write(2, part.encode()); time.sleep(.4)",
    "a child": "subprocess.run(['sh', '-c', 'echo $0 >&2', value]); time.sleep(.5)",
    "a fork": "if not os.fork():\n    print(value, flush=True); time.sleep(.2); os._exit(0)\nos.wait()",
    "a shell's answer": "!echo {value}",
    "the cell's value": "value",
    "a display": "display(HTML(value))",
    "a display of JSON": "display({'application/json': {value: [value]}}, raw=True)",
    "metadata": "display('x', metadata={'x': value})",
    "a display that is updated": "display('x', display_id='i'); display(value, display_id='i', update=True)",
    "an error": "raise ValueError(value)",
    "an error with all locals": "%xmode Verbose\ndef fails(them):\n    return 1 / 0\nfails([value])",
    "a syntax error": "eval(value + '(')",
    "a widget": "import ipywidgets; ipywidgets.Text(value=value)",
    "a widget that changes": "import ipywidgets\ntext = ipywidgets.Text(); display(text); text.value = value",
    "a widget's output": "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    print(value)\nout",
    "a message of somebody's own": "get_ipython().kernel.session.send(get_ipython().kernel.iopub_socket, 'own', {'x': value})",
    "a message that is packed already": "k = get_ipython().kernel\nk.session.send(k.iopub_socket, 'own', k.session.pack([value]))",
    "a buffer": "import ipywidgets; ipywidgets.Text().comm.send({}, buffers=[value.encode()])",
    "base64 of docker's pair": "print(base64.b64encode(('user:' + value).encode()))",
    "an exception's note": "error = ValueError('x')\nerror.add_note(value)\nraise error",
    "a chained exception": "try:\n    raise KeyError(value)\nexcept KeyError as error:\n    raise ValueError('x') from error",
    "a group of exceptions": "raise ExceptionGroup('all', [ValueError(value)])",
    "a record of logging's with more": "logging.getLogger('z').error('x %(it)s', {'it': 1}, extra={'token': value}); "
    "print(logging.makeLogRecord({'token': value}).__dict__)",
    "a request's headers": "import requests\nprint(requests.Request('GET', 'http://x', auth=('u', value)).prepare().headers)",
    "an address with it": "import requests\nprint(requests.Request('GET', 'http://x', params={'t': value}).prepare().url)",
    "base64 in base64": "print(base64.b64encode(base64.b64encode(('u:' + value).encode())))",
    "a cluster's pull secret": "import json\nauth = base64.b64encode(('u:' + value).encode()).decode()\n"
    "print(base64.b64encode(json.dumps({'auths': {'r': {'auth': auth, 'password': value}}}).encode()))",
    "a table of rich's": "from rich.panel import Panel\nimport rich\nrich.print(Panel(value, width=14))",
    "rich's locals": "from rich.traceback import Traceback\nimport rich\n"
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    rich.print(Traceback(show_locals=True, width=60))",
    "its letters": "display(list(value))",
    "Markdown, LaTeX and SVG": "display({'text/markdown': value, 'text/latex': value, 'image/svg+xml': value}, raw=True)",
    "a request for a page of the help": "get_ipython().payload_manager.write_payload({'source': 'page', 'data': value})",
    "bytes that http.client sends": "print('send:', repr(b'Authorization: Basic ' + base64.b64encode(('u:' + value).encode())))",
}


@pytest.mark.parametrize("code", LEAKS.values(), ids=LEAKS)
def test_a_secret_leaves_no_kernel(kernel: Kernel, code: str):
    said, reply = kernel.run(code)
    assert not kernel.found_in(said, reply)
    blob = as_text([said, reply])
    assert MASK in blob


def test_what_google_auth_prints_of_a_malformed_answer_is_masked_though_nobody_knows_the_value(kernel: Kernel):
    said, _ = kernel.run(
        "from types import SimpleNamespace\n"
        "from google.oauth2 import _client\n"
        'answer = SimpleNamespace(status=200, data=b\'{"access_token": "opaque-0123456789abcdef"}\', headers={})\n'
        "_client._lookup_regional_access_boundary(lambda **_: answer, 'https://example.com/allowedLocations')"
    )
    text = as_text(said)
    assert "malformed" in text
    assert "0123456789abcdef" not in text


def test_no_other_channel_tells_it(kernel: Kernel):
    client = kernel.client
    for ask in (
        lambda: client.inspect("value", 5),
        lambda: client.complete("secret_by_name['"),
        lambda: client.history(hist_access_type="tail", n=10, output=True),
    ):
        kernel.run("secret_by_name = {value: 1}\nvalue")
        ask()
        assert not kernel.found_in(client.get_shell_msg(timeout=30))


def test_its_terminal_shows_no_secret(kernel: Kernel):
    """What the process itself writes is repeated to where it was started, such as JupyterLab's log."""

    def said() -> str:
        return kernel.terminal.read_text(errors="replace")

    kernel.run(
        "os.write(2, b'begin ' + value[:20].encode()); time.sleep(.3)\n"
        "os.write(2, value[20:].encode() + b' end \\xc3\\xbc\\n')"
    )
    wait_for(lambda: "end ü" in said(), "what it wrote")
    kernel.run("get_ipython().kernel.log.error('logged %s', value)")
    wait_for(lambda: "logged" in said(), "what it logged")
    # The beginning waits for its rest a second at most, which is not enough on every machine.
    assert re.search(rf"begin (?:{re.escape(MASK)})+ end ü\n", said())
    wait_for(lambda: f"logged {MASK}" in said(), "what was logged")
    assert not kernel.found_in(said())


def test_all_else_comes_as_it_was_and_in_its_order(kernel: Kernel):
    said, _ = kernel.run(
        "print('one', end=''); display(2); print('three', end=''); clear_output()\n"
        "print('\\x1b[31mred\\x1b[0m', 'sha256:' + 'ab' * 32, end='')"
    )
    assert [
        (message["msg_type"], message["content"].get("text", message["content"].get("data"))) for message in said
    ] == [
        ("stream", "one"),
        ("display_data", {"text/plain": "2"}),
        ("stream", "three"),
        ("clear_output", None),
        ("stream", f"\x1b[31mred\x1b[0m sha256:{'ab' * 32}"),
    ]


def test_a_word_waits_for_its_rest_a_second_at_most(kernel: Kernel):
    kernel.client.execute("print('working', end='', flush=True); time.sleep(4)", allow_stdin=False)
    began = time.monotonic()
    while True:
        message = kernel.client.get_iopub_msg(timeout=10)
        if message["content"].get("text") == "working":
            break
    assert time.monotonic() - began < 3.5
    kernel.client.get_shell_msg(timeout=30)
    with suppress(Empty):
        while True:
            assert kernel.client.get_iopub_msg(timeout=0.3)["msg_type"] != "stream"


def test_dots_that_come_one_by_one_are_seen_before_the_last(kernel: Kernel):
    kernel.client.execute("for _ in range(20):\n    print('.', end='', flush=True); time.sleep(.2)", allow_stdin=False)
    dots: list[int] = []
    while sum(dots) < 20:
        message = kernel.client.get_iopub_msg(timeout=10)
        if message["msg_type"] == "stream":
            dots.append(len(message["content"]["text"]))
    assert len(dots) > 1
    kernel.client.get_shell_msg(timeout=30)


def test_a_prompt_comes_after_what_was_said_before_it(kernel: Kernel):
    sent = kernel.client.execute("print('before', end=''); answer = input('name?')", allow_stdin=True)
    assert kernel.client.get_stdin_msg(timeout=10)["content"]["prompt"] == "name?"
    kernel.client.input("somebody")
    said: list[str] = []
    while not said or said[-1] != "idle":
        message = kernel.client.get_iopub_msg(timeout=10)
        if message["parent_header"].get("msg_id") == sent:
            said.append(message["content"].get("text", message["content"].get("execution_state")))
    assert said[-2:] == ["before", "idle"]
    kernel.client.get_shell_msg(timeout=30)


@pytest.mark.parametrize(
    "before",
    [
        "%reset -sf",
        "import sys; from ipykernel.iostream import OutStream\n"
        "kernel = get_ipython().kernel\n"
        "sys.stdout = OutStream(kernel.session, kernel.iopub_thread, 'stdout')",
    ],
)
def test_neither_a_reset_nor_another_stream_lets_it_out(kernel: Kernel, before: str):
    kernel.run(f"kept = sys.stdout\n{before}")
    said, reply = kernel.run(f"print({kernel.value[::-1]!r}[::-1])")
    assert MASK in as_text([said, reply])
    assert not kernel.found_in(said, reply)
    kernel.run(f"{_BEGIN.format(backwards=kernel.value[::-1])}\nif 'kept' in vars(): sys.stdout = kept")


def test_nothing_is_done_where_there_is_no_kernel_or_another_programs():
    mask_all_output(None)
    for kernel in (None, SimpleNamespace(), SimpleNamespace(session=None)):
        mask_all_output(SimpleNamespace(kernel=kernel))
