"""Where cgrunbook keeps its own things: the one reading of CGRUNBOOK_HOME, for the package, the sandbox and the tests.

Knows the variable and its default. Knows nothing of what is kept there.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "CGRUNBOOK_HOME"


def home() -> Path:
    """The home: CGRUNBOOK_HOME with its `~` expanded and made absolute, else the platform's user data folder."""
    value = os.environ.get(VARIABLE, "").strip()
    if value:
        return Path(value).expanduser().absolute()
    import platformdirs  # only here: a sandbox of a given home starts without it

    return Path(platformdirs.user_data_dir("cgrunbook"))
