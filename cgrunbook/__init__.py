"""cgrunbook: pulling Chainguard's images through Google Artifact Registry, as notebooks that do each step and prove it.

What a notebook imports is here and nowhere else.
"""

__version__ = "0.1.0"
