"""The services' first use: the libraries that are imported by then import each other in circles."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cgrunbook.sandbox import process

# Every import of a library's module takes a moment and is written down with its thread, so that two threads which import at
# the same time are seen at each try and not once in a hundred.
_WATCHED = """
import importlib.abc, sys, threading, time
from cgrunbook.cloud import Cloud, connect

connection = connect("sandbox")
threads_of_imports = []

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("google", "requests", "urllib3", "docker", "cgrunbook"):
            threads_of_imports.append(threading.get_ident())
            time.sleep(0.001)
        return None

cloud = Cloud(connection)
before, *uses = sys.argv[1:]
eval(before)
sys.meta_path.insert(0, Watch())
begin, failed = threading.Barrier(len(uses)), []

def use(first):
    begin.wait()
    try:
        eval(first)
    except BaseException as error:
        failed.append(error)

threads = [threading.Thread(target=use, args=(first,)) for first in uses]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
changes = sum(one != other for one, other in zip(threads_of_imports, threads_of_imports[1:]))
print(len(threads_of_imports), changes + 1, len(set(threads_of_imports)), failed)
"""


_SERVICES = ("artifact_registry_host", "chainctl", "docker", "project", "pubsub", "repositories", "secrets")
_METHODS = ("cgr()", "access_token()", "greeting('http://127.0.0.1')")
_OF_A_PROJECT = ("project._projects", "project._services", "repositories", "secrets")


@pytest.mark.parametrize(
    ("before", "uses"),
    [("None", (*_SERVICES, *_METHODS)), ("cloud.project", _OF_A_PROJECT)],
    ids=["services", "of a project"],
)
@pytest.mark.usefixtures("sandbox_is_there")
def test_services_that_are_first_used_at_the_same_time_are_imported_one_after_the_other(before, uses):
    words = [sys.executable, "-c", _WATCHED, before, *(f"cloud.{use}" for use in uses)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    imports, turns, importing, failed = told.split(maxsplit=3)
    assert failed.strip() == "[]"
    assert int(imports) > 20
    assert turns == importing, "a thread began to import while another did"


@pytest.fixture
def sandbox_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CGRUNBOOK_HOME", str(tmp_path))
    process.start(tmp_path)
    yield
    process.reset(tmp_path)
