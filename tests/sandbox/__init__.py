"""Tests of the sandbox: its process, its wire and the services that it plays."""
