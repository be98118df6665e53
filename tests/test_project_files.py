"""The files around the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cgrunbook.run.record import record_schema
from tests.documents import GENERATED, replaced

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


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


def test_the_conda_environment_asks_for_the_same_python_and_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python {PROJECT['requires-python']}"
    assert pip == "pip"
    assert packages["pip"] == ["--constraint constraints.txt", "--editable .[test]"]


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
