"""The registries of the sandbox: cgr.dev, its blob host, and LOCATION-docker.pkg.dev with what they serve.

Knows nothing by itself; each module below it plays one part.
"""
