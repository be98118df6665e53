"""The Chainguard platform: organisations, roles, identities, pull tokens, and the API that chainctl talks to.

Knows nothing by itself; each module below it plays one part. Sources: the public protos of chainguard-dev/sdk for paths
and fields, Chainguard's documentation for roles, limits and the pull token's claims.
"""
