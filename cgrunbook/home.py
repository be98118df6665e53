"""Where cgrunbook keeps its own things. It knows the folder and the one variable that names it, and not what is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CGRUNBOOK_HOME"


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of cgrunbook's own things, whether it is there yet or not.

    Args:
        environment: what may name it; an empty value names none.

    Returns:
        An absolute path, `~` read as a shell reads it.
    """
    given = environment.get(VARIABLE, "").strip()
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_data_dir

    return Path(user_data_dir("cgrunbook"))
