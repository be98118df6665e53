"""Where this installation of cgrunbook came from, and how it is installed again from there.

Knows what installers write down beside a package (PEP 610, direct_url.json). Names no package index: whoever holds a name there
may be a stranger.
"""

from __future__ import annotations

import json
import shlex
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def again(extra: str = "", *, anew: bool = False) -> str:
    """An instruction that installs cgrunbook again into this interpreter's environment, with what it needs.

    Args:
        extra: one of its extras, "lab" for example.
        anew: whether what is there already is not to be trusted.
    """
    origin = _origin()
    wanted = f"cgrunbook[{extra}]" if extra else "cgrunbook"
    if not origin:
        return f"Install {wanted} into the environment of {sys.executable}, from where you got it."
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if find_spec("pip") is None:  # uv makes environments without
        pip = f"uv pip install --python {shlex.quote(sys.executable)}"
    if anew:
        pip += " --force-reinstall"
    url = origin["url"]
    path = url2pathname(urlsplit(url).path) if url.startswith("file:") else ""
    if origin.get("dir_info", {}).get("editable"):
        return f"Run: {pip} --editable {shlex.quote(path + wanted.removeprefix('cgrunbook'))}"
    if version_control := origin.get("vcs_info"):
        url = f"{version_control['vcs']}+{url}@{version_control['commit_id']}"
    return f"Run: {pip} {shlex.quote(f'{wanted} @ {url}')}"


def _origin() -> dict[str, Any]:
    """What direct_url.json says; empty when it came from an index, or lies there without having been installed."""
    try:
        told = metadata.distribution("cgrunbook").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, Any] = json.loads(told) if told else {}
    return found
