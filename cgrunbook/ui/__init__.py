"""What a notebook shows: cards, approval, progress. It knows Jupyter; it does not know the guide's steps."""
