"""Tests of the registries that the sandbox plays, and of what they are made of."""
