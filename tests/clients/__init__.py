"""The sandbox driven by clients that nobody here wrote."""
