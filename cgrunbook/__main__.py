"""`python -m cgrunbook`: the command line, where its script is not on the PATH."""

from cgrunbook.cli import main

if __name__ == "__main__":
    main()
