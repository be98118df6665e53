"""`python -m tests.pythons`: the core of the suite on each Python that the project names, with the oldest and the newest of
its dependencies, and with the clock a year ahead. It ends with a table, and with 1 where something failed.

It needs uv, which makes an environment in seconds out of what an earlier one fetched, and knows the oldest versions; and a C
compiler, on Linux, for the calendar.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# What breaks with another Python or another release of a library: each floor and each service is touched once, with warnings
# as errors, real kernels, a real sandbox process and a committed notebook. What is ours alone (kills, convergence, refusals)
# is the same on every Python.
CORE = (
    "tests/cloud/test_connection.py",
    "tests/cloud/docker/test_docker_config.py",
    "tests/cloud/google_services/test_artifact_registry.py",
    "tests/cloud/google_services/test_secret_manager.py",
    "tests/cloud/registry/test_registry.py",
    "tests/notebooks/test_committed_notebooks.py::test_a_notebook_executed_anew_says_the_same[03_production_images]",
    "tests/run/test_headless.py::test_a_failed_cell_ends_the_run_there",
    "tests/run/test_journal.py",
    "tests/run/test_route.py",
    "tests/sandbox/google/test_artifact_registry.py",
    "tests/sandbox/google/test_resource_manager.py",
    "tests/sandbox/registry/test_cgr_dev.py",
    "tests/steps/test_performed_again.py::test_a_second_run_is_unchanged_throughout_and_sends_no_request_that_writes",
    "tests/ui/test_approval.py",
    "tests/ui/test_cards.py",
    "tests/ui/test_lab.py",
)
# What looks at the files around the code, once, where the source distribution was unpacked.
AROUND = ("tests/test_documents.py", "tests/test_project_files.py", "tests/test_walls.py")

# What tries values at random is about our code, takes long, and is stopped by its own clock on a machine that is busy.
_NOT_AT_RANDOM = "not any_text and not whatever and not everything_else and not written_is_read_back"

# Where all pinned packages have wheels, as uv names platforms, and where some have none, so that installing would compile them.
PLATFORMS = {
    "x86_64-manylinux_2_28": ("Linux with glibc 2.28 or newer, x86-64", True),
    "aarch64-manylinux_2_28": ("Linux with glibc 2.28 or newer, ARM", True),
    "aarch64-apple-darwin": ("macOS, Apple silicon", True),
    "x86_64-apple-darwin": ("macOS, Intel", False),
    "x86_64-unknown-linux-musl": ("Linux with musl", False),
}


@dataclass(frozen=True)
class Round:
    """One environment in which the core is run.

    Attributes:
        python: the minor version, "3.11".
        versions: of the dependencies: "lowest" direct ones, "pinned", or "newest".
        a_year_ahead: whether the calendar is.
        around: whether what is around the code is looked at too.
    """

    python: str
    versions: str
    a_year_ahead: bool = False
    around: bool = False


def named_pythons() -> tuple[str, ...]:
    """The Pythons that pyproject.toml's classifiers name, the oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    before = "Programming Language :: Python :: "
    return tuple(text.removeprefix(before) for text in project["classifiers"] if text.startswith(before))


def rounds() -> Iterator[Round]:
    """What is run: the oldest Python with the oldest dependencies, and with what one would get in a year; the others as pinned.

    The oldest Python with the pinned ones is what `make test` runs in full.
    """
    oldest, *others = named_pythons()
    yield Round(oldest, "lowest", around=True)
    yield Round(oldest, "newest", a_year_ahead=True)
    for python in others:
        yield Round(python, "pinned")


def interpreter(python: str) -> str | None:
    """A Python of this minor version on this machine: on the PATH, or one of pyenv's; never one that would be downloaded."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{python}"), *map(str, sorted(pyenv.glob(f"{python}.*/bin/python")))]
    for candidate in filter(None, candidates):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        told = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if told.stdout.strip() == python:
            return candidate
    return None


def uv() -> str:
    """The uv beside this Python, or on the PATH."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, "uv is not installed: make check installs it"
    return found


def lacking(platform: str, python: str) -> str:
    """Which pinned package has no wheel for a platform and a Python; empty when each has one."""
    words = [
        uv(),
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--only-binary",
        ":all:",
        "--constraint",
        "constraints.txt",
    ]
    words += ["--extra", "lab", "--python-platform", platform, "--python-version", python, "pyproject.toml"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"([\w.-]+==[\w.]+) has no", " ".join(done.stderr.split()))
    return "" if done.returncode == 0 else found[1] if found else done.stderr


def environment(round_: Round, python: str, folder: Path, source: Path) -> Path:
    """Make an environment with the project in it, as its source is; answers its Python."""
    subprocess.run([uv(), "venv", "--quiet", "--no-python-downloads", "--python", python, folder], check=True)
    made = folder / "bin" / "python"
    how = {"lowest": ["--resolution", "lowest-direct"], "pinned": ["--constraint", "constraints.txt"], "newest": []}
    install = [uv(), "pip", "install", "--quiet", "--python", str(made), *how[round_.versions], "--editable", ".[test]"]
    subprocess.run(install, check=True, cwd=source)
    return made


def calendar(folder: Path) -> dict[str, str]:
    """The variables of a process whose calendar is a year ahead."""
    library = folder / "a_year_ahead.so"
    source = ROOT / "tests" / "a_year_ahead.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {"LD_PRELOAD": str(library)}


def distributions(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel out of it."""
    subprocess.run([uv(), "build", "--quiet", "--python", sys.executable, "--out-dir", folder, ROOT], check=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def guide_of(distribution: Path, folder: Path) -> tuple[bool, str]:
    """Install a distribution alone, and run the guide away from every checkout."""
    python, work = folder / "environment" / "bin" / "python", folder / "work"
    work.mkdir()
    subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, folder / "environment"], check=True)
    install = ["--quiet", "--python", str(python), "--constraint", "constraints.txt", str(distribution)]
    subprocess.run([uv(), "pip", "install", *install], check=True, cwd=ROOT)
    variables = os.environ | {"CGRUNBOOK_HOME": str(folder / "home")}
    command = python.with_name("cgrunbook")
    done = subprocess.run([command, "run"], cwd=work, env=variables, capture_output=True, text=True, check=False)
    subprocess.run([command, "sandbox", "reset"], env=variables, check=True, capture_output=True)
    if done.returncode:
        print(done.stdout, done.stderr, flush=True)
    packages = len([*folder.glob("environment/lib/*/site-packages/*.dist-info")])
    said = next((line for line in done.stdout.splitlines() if line.startswith("Done")), "failed")
    return done.returncode == 0, f"with {packages - 1} packages: {said}"


def perform(round_: Round, python: str, folder: Path, source: Path) -> tuple[bool, str]:
    """Make the environment and run the core in it; answers whether all passed, and pytest's last line."""
    made = environment(round_, python, folder / "environment", source)
    tests = [str(made), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", f"--basetemp={folder / 'tests'}"]
    done = subprocess.run(
        [*tests, "-k", _NOT_AT_RANDOM, *CORE, *(AROUND if round_.around else ())],
        cwd=source,
        env=os.environ | (calendar(folder) if round_.a_year_ahead else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0, done.stdout.strip().splitlines()[-1].strip("= ")


def main() -> int:
    """Run the rounds, two at a time, and print the table."""
    rows, failed = [], 0
    # Each waits for the package index most of its time, while the rounds are run.
    combinations = list(itertools.product(PLATFORMS, named_pythons()))
    looking = ThreadPoolExecutor(len(combinations)).map(lacking, *zip(*combinations, strict=True))
    with tempfile.TemporaryDirectory(prefix="pythons-", ignore_cleanup_errors=True) as folder:
        archive, wheel = distributions(Path(folder, "built"))
        # The tests are those of the source distribution: what it lacks is missed here.
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
        source = Path(folder, archive.name.removesuffix(".tar.gz"))

        def tried(given: Round | Path) -> tuple[str, bool, str]:
            began, apart = time.monotonic(), Path(tempfile.mkdtemp(dir=folder))
            if isinstance(given, Path):
                name, (passed, said) = f"{given.suffix.lstrip('.')} alone", guide_of(given, apart)
            else:
                name = f"{given.python:6} {given.versions:8} {'a year ahead' * given.a_year_ahead}"
                if not (python := interpreter(given.python)):
                    return name, True, "this machine has none"
                passed, said = perform(given, python, apart, source)
            return name, passed, f"{said} ({time.monotonic() - began:.0f} s with its environment)"

        # One process a round, and two rounds at a time: several would each import and collect everything.
        with ThreadPoolExecutor(2) as two:
            for name, passed, said in two.map(tried, [*rounds(), archive, wheel]):
                failed += not passed
                rows.append(f"{name:31} {said}")
                print(rows[-1], flush=True)
    found = dict(zip(combinations, looking, strict=True))
    for platform, (name, supported) in PLATFORMS.items():
        without = [f"{python}: {found[platform, python]}" for python in named_pythons() if found[platform, python]]
        failed += bool(without) == supported
        rows.append(
            f"{name:40} " + (f"no wheel, {'; '.join(without)}" if without else "wheels for all pinned packages")
        )
    print("", "Python versions  clock", *rows, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
