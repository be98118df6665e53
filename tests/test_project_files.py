"""The files around the code say what the code says."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cgrunbook
from cgrunbook.run.record import record_schema
from tests.documents import GENERATED, replaced
from tests.pythons import PLATFORMS, named_pythons

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
NOTEBOOKS = ROOT / "notebooks"


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split(" ;")[0].strip().split("==") for line in lines if "==" in line)


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]
    return [Requirement(text) for text in texts if not text.startswith("cgrunbook[")]


def test_each_requirement_has_a_lower_bound_and_a_tested_version_that_meets_it():
    tested = {canonicalize_name(name): version for name, version in constraints().items()}
    for requirement in requirements():
        assert any(specifier.operator == ">=" for specifier in requirement.specifier), requirement
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)]), requirement


def test_what_is_imported_is_required():
    required = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    required.add(canonicalize_name("pydantic-core"))  # pydantic asks for the one that it belongs to
    imported = {
        name
        for path in (ROOT / "cgrunbook").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom) and not node.level
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "cgrunbook"}
    }
    # Several distributions share the name "google": which has a module, its list of files tells.
    owners = {
        str(file).removesuffix(".py").removesuffix("/__init__"): canonicalize_name(distribution.name)
        for distribution in distributions()
        for file in distribution.files or ()
        if str(file).endswith(".py")
    }
    for name in sorted(imported):
        parts = name.split(".")
        found = [owners.get("/".join(parts[:length])) for length in range(len(parts), 0, -1)]
        owner = next(filter(None, found), None)
        assert owner in required, f"{name} is of {owner}, for which nothing is asked in pyproject.toml"


def test_the_conda_environment_asks_for_the_same_python_and_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    oldest, newest = named_pythons()[0], named_pythons()[-1]
    major, _, minor = newest.partition(".")
    assert python == f"python >={oldest},<{major}.{int(minor) + 1}"
    assert PROJECT["requires-python"] == f">={oldest}"
    assert pip == "pip"
    assert packages["pip"] == ["--constraint constraints.txt", "--editable .[test]"]


def test_the_pythons_that_the_classifiers_name_are_those_of_the_makefile_and_the_documents():
    named = named_pythons()
    makefile = (ROOT / "Makefile").read_text()
    preferred = re.search(r"^PYTHON \?= (.*) python3$", makefile, re.MULTILINE)
    assert preferred
    assert preferred[1].split() == [f"python{version}" for version in reversed(named)]
    *others, last = named
    assert f"Python {', '.join(others)} or {last}, git and make" in (ROOT / "README.md").read_text()
    assert f"Python {', '.join(others)} and {last}, " in (ROOT / "docs" / "description.md").read_text()


def test_the_platforms_that_the_documents_name_are_those_whose_wheels_are_looked_for():
    supported = " ".join(text for text, there in PLATFORMS.values() if there)
    for document in ("README.md", "docs/description.md"):
        text = " ".join((ROOT / document).read_text().split())
        for words in ("glibc 2.28", "x86-64", "ARM", "Apple silicon"):
            assert words in text, document
            assert words in supported


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS.glob("*.ipynb")])
def test_each_notebook_says_which_version_it_is_for_and_what_to_do_where_that_is_absent(name):
    version = ".".join(cgrunbook.__version__.split(".")[:2])
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    [opening] = [source for cell in cells if "open_notebook(" in (source := "".join(cell["source"]))]
    assert f'globals(), version="{version}")' in opening
    without = (
        "import sys; sys.path = [path for path in sys.path if 'python3' in path and 'site-packages' not in path]\n"
    )
    code = without + opening.replace("await ", "")
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 1
    said = done.stderr.partition("AssertionError: ")[2]
    assert f"This kernel's Python, {sys.executable}, has no cgrunbook." in said
    assert "python -m ipykernel install --user --name cgrunbook" in said


@pytest.mark.parametrize(("document", "name"), GENERATED)
def test_a_document_says_what_the_code_says(document, name):
    text = (ROOT / document).read_text()
    assert replaced(text, name, GENERATED[document, name]()) == text, "make documents writes it anew"


def test_the_documented_schema_of_the_record_is_the_one_in_use():
    assert (ROOT / "docs" / "record.schema.json").read_text() == record_schema()


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, cgrunbook; print([m for m in ('google', 'IPython', 'papermill', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_opens_without_what_only_its_steps_need():
    code = """
import sys
import cgrunbook.cloud.credentials, cgrunbook.sandbox.process, cgrunbook.ui.form, cgrunbook.ui.notebook, cgrunbook.ui.presence
later = ("jinja2", "requests", "google.cloud", "google.api_core", "cgrunbook.run.record", "cgrunbook.run.report")
print([name for name in later if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_year_in_which_googles_libraries_give_up_a_python_warns_nobody_who_opens_a_notebook():
    code = """
import datetime
class Later(datetime.date):
    @classmethod
    def today(cls):
        return cls(2031, 1, 1)
datetime.date = Later
import cgrunbook.steps.diagnosis, cgrunbook.steps.prerequisites, cgrunbook.ui.notebook
from google.cloud import resourcemanager_v3, service_usage_v1
"""
    for words in ((), ("-W", "error::FutureWarning")):
        done = subprocess.run([sys.executable, *words, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
