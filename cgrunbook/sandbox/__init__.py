"""The local double of the services that the guide speaks of; start it with `cgrunbook.sandbox.process`.

Knows the services as the facts state them. Knows nothing of the rest of cgrunbook and imports none of it.
"""
