"""gcloud that has done its imports: for each command it forks, and the child goes on as gcloud does.

Nine tenths of a gcloud command are its Python's start and its imports. gcloud's own launcher starts this, with the environment
and the Python that it gives to gcloud, so nothing of ours can be imported:

    CLOUDSDK_PYTHON_ARGS="-S gcloud_kept_warm.py" gcloud

A request is a line of JSON on standard input: the `words` of the command, the folder `cwd` that it is called in, its `environment`
if that is another than gcloud was started with, and a `folder` where `stdin` is read and `stdout` and `stderr` are written. The
answer is a line with the exit code.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

_OF_GCLOUD = ("googlecloudsdk.", "apitools.", "google.")


def perform(gcloud: Any, words: list[str], folder: Path) -> int:
    """Be gcloud to the end, but for the interpreter's own; answers the exit code."""
    os.dup2(os.open(folder / "stdin", os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.argv = ["gcloud", *words]
    try:
        gcloud.main()
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    (folder / "imported").write_text("\n".join(name for name in sys.modules if name.startswith(_OF_GCLOUD)))
    return code if isinstance(code, int) else int(code is not None)


def main(launched: Path) -> None:
    """Answer requests until there are no more."""
    sys.path.insert(0, str(launched.parent))
    gcloud: Any = importlib.import_module(launched.stem)
    gcloud._fix_google_module()
    gcloud._import_gcloud_main()
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        child = os.fork()
        if not child:
            code = 70
            try:
                os.chdir(asked["cwd"])
                if "environment" in asked:
                    os.environ.clear()
                    os.environ.update(asked["environment"])
                code = perform(gcloud, asked["words"], folder)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        imported = folder / "imported"  # the next child finds it done
        names = imported.read_text().splitlines() if imported.exists() else ()
        print(os.waitstatus_to_exitcode(status), flush=True)  # with the answer the folder may go
        for name in names:
            importlib.import_module(name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
