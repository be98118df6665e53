"""Tests of the Chainguard platform and of its command."""
