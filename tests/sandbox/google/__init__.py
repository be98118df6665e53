"""Tests of Google's control planes as the sandbox plays them."""
