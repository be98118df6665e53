"""The advice to install cgrunbook names what this installation came from, and never a name in an index."""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata, resources

import pytest

from cgrunbook import installation
from cgrunbook.errors import UsageError
from cgrunbook.run import notebooks
from cgrunbook.steps import prerequisites

PIP = f"{shlex.quote(sys.executable)} -m pip install"


class Distribution:
    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin and json.dumps(self.origin)


@pytest.fixture
def came_from(monkeypatch):
    def set_origin(origin):
        monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(origin))
        monkeypatch.setattr(installation, "find_spec", lambda name: "there")

    return set_origin


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (
            {"url": "file:///home/me/a%20folder/cgrunbook", "dir_info": {"editable": True}},
            f"Run: {PIP} --editable '/home/me/a folder/cgrunbook[lab]'",
        ),
        (
            {"url": "file:///home/me/cgrunbook-0.1.0-py3-none-any.whl", "archive_info": {}},
            f"Run: {PIP} 'cgrunbook[lab] @ file:///home/me/cgrunbook-0.1.0-py3-none-any.whl'",
        ),
        (
            {"url": "https://example.com/cgrunbook", "vcs_info": {"vcs": "git", "commit_id": "4b1d"}},
            f"Run: {PIP} 'cgrunbook[lab] @ git+https://example.com/cgrunbook@4b1d'",
        ),
        (None, f"Install cgrunbook[lab] into the environment of {sys.executable}, from where you got it."),
    ],
    ids=["checkout", "wheel", "git", "index"],
)
def test_it_is_installed_again_from_where_it_came(came_from, origin, command):
    came_from(origin)
    assert installation.again("lab") == command


def test_an_environment_without_pip_is_installed_into_by_uv(came_from, monkeypatch):
    came_from({"url": "file:///c", "dir_info": {"editable": True}})
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    assert installation.again() == f"Run: uv pip install --python {shlex.quote(sys.executable)} --editable /c"


def test_it_is_named_where_packages_are_missing_and_where_notebooks_are(came_from, monkeypatch, tmp_path):
    came_from({"url": "file:///c", "dir_info": {"editable": True}})
    monkeypatch.setattr(metadata, "requires", lambda name: ["packaging>=1000"])
    monkeypatch.setattr(metadata, "version", lambda name: "1")
    assert f"{PIP} --editable /c" in str(prerequisites._packages())
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(UsageError) as none:
        notebooks.shipped_in()
    assert none.value.remedy == f"Run: {PIP} --force-reinstall --editable /c"
