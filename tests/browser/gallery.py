"""`python -m tests.browser.gallery FOLDER`: pictures of the notebooks in every state that a browser's test comes to.

Of each state one as the test sees it, and all of the notebook at two widths, light and dark; of the report on screen and paper.
"""

from __future__ import annotations

import os
import sys

import pytest


def main() -> int:
    """Run the browser's tests for their pictures."""
    os.environ["CGRUNBOOK_SCREENSHOTS"] = os.path.abspath(sys.argv[1])  # noqa: PTH100 - a string for the environment
    return pytest.main([os.path.dirname(__file__), *sys.argv[2:]])  # noqa: PTH120 - the same


if __name__ == "__main__":
    sys.exit(main())
