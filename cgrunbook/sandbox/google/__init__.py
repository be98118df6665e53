"""Google's control planes as the sandbox plays them, one service a module.

Knows their wire and their rules. Knows nothing of the registries behind LOCATION-docker.pkg.dev and cgr.dev.
"""
