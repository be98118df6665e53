"""Where cgrunbook keeps its own things: the one reading of CGRUNBOOK_HOME, for the package, the sandbox and the tests.

Knows the variable, its default, whose a folder must be, and where a child of ours may read modules. Knows nothing of
what is kept there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cgrunbook.errors import PrerequisiteMissing, StepFailed

VARIABLE = "CGRUNBOOK_HOME"


def home() -> Path:
    """The home: CGRUNBOOK_HOME with its `~` expanded and made absolute, else the platform's user data folder.

    Raises:
        PrerequisiteMissing: as `require_user_folder`, where it would be in there; or what is there is not ours alone, see `own`.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if not value or value.startswith("~"):
        require_user_folder()
    if value:
        try:
            return own(Path(value).expanduser().absolute())
        except RuntimeError as error:
            raise PrerequisiteMissing(
                f"{VARIABLE} is {value}, and this machine knows no user of that name.",
                f"Set {VARIABLE} to a folder: export {VARIABLE}=/path/to/it",
            ) from error
    import platformdirs  # only here: a sandbox of a given home starts without it

    return own(Path(platformdirs.user_data_dir("cgrunbook")))


def require_user_folder() -> None:
    """Refuse to go on for a user without a home, such as a container's uid without a name: Jupyter does not start either.

    Raises:
        PrerequisiteMissing: HOME is not set, and the user has no entry that names one.
    """
    try:
        Path.home()
    except RuntimeError as error:
        raise PrerequisiteMissing(
            f"The user of this process, uid {os.getuid()}, has no home folder, and HOME is not set.",
            "Set HOME to a folder that this user may write: export HOME=/path/to/it",
        ) from error


def own(folder: Path) -> Path:
    """A folder of ours, when nobody else can put something in the place of what we write there.

    Args:
        folder: it may be missing yet.

    Raises:
        PrerequisiteMissing: it is somebody else's, everybody may write in it, or it has a link in it.
    """
    me = os.geteuid()
    try:
        found = folder.stat()
    except OSError:  # whoever is about to use it says what is wrong with it
        # Under sudo with the user's HOME, root would make a folder there that the user could not use afterwards.
        owner, above = next((each.stat().st_uid, each) for each in folder.absolute().parents if each.is_dir())
        if owner != me and os.environ.get("SUDO_UID") == f"{owner}":
            raise _somebody_elses(above, owner) from None
        return folder
    if found.st_uid != me or folder.lstat().st_uid not in {0, me}:
        raise _somebody_elses(folder, found.st_uid)
    if found.st_mode & stat.S_IWOTH:
        raise _refused(f"everybody may write in {folder}", f"Take that right away (chmod o-w {folder})")
    for each in folder.iterdir() if folder.is_dir() and os.access(folder, os.R_OK) else ():
        if each.is_symlink():
            raise _refused(f"{each} is a link, and what is kept there would go elsewhere", f"Move {each} away")
    return folder


def made(folder: Path) -> Path:
    """A folder in the home, made where it is missing; for us alone, whatever the umask.

    Raises:
        StepFailed: it cannot be made.
    """
    try:
        for each in (*reversed(folder.parents), folder):
            if not each.is_dir():
                each.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StepFailed(
            f"{folder} cannot be made: {error.strerror or error}.", f"Set {VARIABLE} to a folder of yours."
        ) from error
    return folder


def python_path(*first: str) -> str:
    """PYTHONPATH for a child of ours: an empty or relative entry would name the folder that it happens to work in.

    Args:
        first: folders that it reads modules from before all others.
    """
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([*first, *filter(os.path.isabs, inherited)])


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in a container
        return f"the user {uid}"


def _somebody_elses(folder: Path, owner: int) -> PrerequisiteMissing:
    return _refused(f"{folder} belongs to {_name(owner)}, and this runs as {_name(os.geteuid())}")


def _refused(why: str, remedy: str = "") -> PrerequisiteMissing:
    me = _name(os.geteuid())
    return PrerequisiteMissing(
        f"What cgrunbook keeps cannot be kept there: {why}.",
        f"{remedy or 'Run it as that user, without sudo'}, or set {VARIABLE} to a folder that is {me}'s alone.",
    )
