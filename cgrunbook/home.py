"""Where cgrunbook keeps its own things: the one reading of CGRUNBOOK_HOME, for the package, the sandbox and the tests.

Knows the variable and its default. Knows nothing of what is kept there.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "CGRUNBOOK_HOME"


def home() -> Path:
    """The home: CGRUNBOOK_HOME with its `~` expanded and made absolute, else the platform's user data folder.

    Raises:
        PrerequisiteMissing: as `require_user_folder`, where it would be in there.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value or value.startswith("~"):
        require_user_folder()
    if value:
        return Path(value).expanduser().absolute()
    import platformdirs  # only here: a sandbox of a given home starts without it

    return Path(platformdirs.user_data_dir("cgrunbook"))


def require_user_folder() -> None:
    """Refuse to go on for a user without a home, such as a container's uid without a name: Jupyter does not start either.

    Raises:
        PrerequisiteMissing: HOME is not set, and the user has no entry that names one.
    """
    try:
        Path.home()
    except RuntimeError as error:
        from cgrunbook.errors import PrerequisiteMissing

        raise PrerequisiteMissing(
            f"The user of this process, uid {os.getuid()}, has no home folder, and HOME is not set.",
            "Set HOME to a folder that this user may write: export HOME=/path/to/it",
        ) from error
