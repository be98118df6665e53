"""What the container file is built from where no registry of images is reached, and no index: a root with this Python, and wheels.

Both are made of what is installed here, so that what is built is what the other tests have run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# A builder needs a shell and these; a runtime base has none of them, and nothing of the image may need one.
_PROGRAMS = ("/bin/sh", "/bin/mkdir", "/bin/chmod")
_LEFT_OUT = {"site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "__pycache__"}
_NOT_LOADED = ("_tkinter", "_test", "_xx")
_USERS = "root:x:0:0::/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n"
_DEBIANS_PIP = Path("/usr/share/python-wheels")  # where Debian's ensurepip finds it
# What wheels are linked against, and the loader finds in every root with a C library.
_OF_WHEELS = ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1")


def root(*, shell: bool) -> bytes:
    """A root file system for `docker import`: this Python, the libraries that it loads, and a shell if wanted."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefix = Path(sys.base_prefix)
    program, library = (prefix / "bin" / version).resolve(), prefix / "lib" / version
    loaded = [path for path in (library / "lib-dynload").glob("*.so") if not path.name.startswith(_NOT_LOADED)]
    programs = [Path(name) for name in _PROGRAMS] if shell else []
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, mode in (("tmp", 0o1777), ("etc", 0o755), ("root", 0o700), ("proc", 0o755), ("sys", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        passwd = tarfile.TarInfo("etc/passwd")
        passwd.size = len(_USERS)
        tar.addfile(passwd, io.BytesIO(_USERS.encode()))
        tar.add(program, f"usr/local/bin/{version}")
        link = tarfile.TarInfo("usr/local/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, version
        tar.addfile(link)
        tar.add(library, f"usr/local/lib/{version}", filter=_wanted)
        for path in programs:
            tar.add(path.resolve(), str(path).lstrip("/"))
        if _DEBIANS_PIP.is_dir():
            tar.add(_DEBIANS_PIP, str(_DEBIANS_PIP).lstrip("/"))
        libraries = sorted(_libraries([program, *loaded, *programs]))
        (searched,) = {path.parent for path in libraries if path.name == "libc.so.6"}
        for path in libraries:
            place = searched / path.name if path.is_relative_to(prefix) else path
            tar.add(path.resolve(), str(place).lstrip("/"))
    return out.getvalue()


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    return None if _LEFT_OUT & set(parts) or parts[-1].startswith((*_NOT_LOADED, "config-3")) else entry


def _libraries(programs: list[Path]) -> set[Path]:
    """What the loader finds for programs and modules, and where it expects itself."""
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = {
        Path(match) for name in _OF_WHEELS for match in re.findall(rf"{re.escape(name)} .*x86-64.* => (\S+)", cache)
    }
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    return found | {Path(match) for match in re.findall(r"(/\S+) \(0x", told) if Path(match) not in programs}


def wheels(folder: Path, *wanted: str) -> None:
    """Make wheels of distributions that are installed here, and of all that they need."""
    folder.mkdir()
    left, done = [Requirement(each) for each in wanted], set()
    while left:
        requirement = left.pop()
        extras = requirement.extras or {""}
        name = canonicalize_name(requirement.name)
        if (name, *sorted(extras)) in done:
            continue
        done.add((name, *sorted(extras)))
        distribution = metadata.distribution(name)
        if name != "cgrunbook":  # which is built, not installed from a wheel
            _wheel(distribution, folder)
        needed = map(Requirement, distribution.requires or [])
        left += [
            one
            for one in needed
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
        ]


def _wheel(distribution: metadata.Distribution, folder: Path) -> None:
    """Put what an installation has written down of itself back into a wheel; what pip makes anew is left out."""
    tags = [tag for key, tag in _headers(distribution, "WHEEL") if key == "Tag"]
    python, abi, _ = tags[0].split("-")
    platforms = ".".join(dict.fromkeys(tag.split("-")[2] for tag in tags))
    stem = f"{canonicalize_name(distribution.name).replace('-', '_')}-{distribution.version}"
    target = folder / f"{stem}-{python if len(tags) == 1 or abi != 'none' else 'py3'}-{abi}-{platforms}.whl"
    if target.exists():
        return
    rows = []
    with zipfile.ZipFile(target, "w") as wheel:
        for file in distribution.files or []:
            name = str(file)
            if "__pycache__" in name or name.endswith(("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")):
                continue
            if name.startswith("../"):
                below = name.lstrip("./")
                if below.startswith("bin/"):
                    continue
                name = f"{stem}.data/data/{below}"
            content = Path(str(distribution.locate_file(file))).read_bytes()
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(content)}")
        information = next(str(file) for file in distribution.files or [] if str(file).endswith(".dist-info/METADATA"))
        record = information.replace("/METADATA", "/RECORD")
        wheel.writestr(record, "\n".join([*rows, f"{record},,", ""]))


def _headers(distribution: metadata.Distribution, file: str) -> list[tuple[str, str]]:
    lines = (distribution.read_text(file) or "").splitlines()
    return [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines)]


def context(folder: Path, repository: Path) -> None:
    """What `docker build` is given of a checkout, with the wheels beside it.

    The engine's own reading of .dockerignore does the choosing; only what it could never take is left out here.
    """
    shutil.copytree(
        repository,
        folder,
        ignore=shutil.ignore_patterns(".venv", ".git", "tests", "runs", "__pycache__", ".*_cache"),
    )
    wheels(folder / "wheels", "cgrunbook", "hatchling")
