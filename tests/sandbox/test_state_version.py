"""A table that changes gets the state another version, or an older sandbox's file would be read as what it is not."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil

from cgrunbook import sandbox
from cgrunbook.sandbox.state import VERSION

# What the tables of a version add up to. Where this fails, raise VERSION and add its line; the documents in the tables count too.
TABLES = {1: "b4037c97062d4fc8", 2: "4c13e258c140aa5a", 3: "82f6558b255c67d1"}


def test_the_tables_are_those_of_the_version():
    names = [found.name for found in pkgutil.walk_packages(sandbox.__path__, "cgrunbook.sandbox.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    schemas = {schema for module in modules if (schema := getattr(module, "SCHEMA", ""))}
    words = sorted(" ".join(schema.split()) for schema in schemas)
    assert TABLES[VERSION] == hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
