"""The local double of the services that the guide speaks of; start it with `cgrunbook.sandbox.process`.

Knows the services as their documentation and Google's published schema state them. Knows nothing of the rest of
cgrunbook and imports none of it but `cgrunbook.home`: client and double must not share a mistake.

Its floors, lowest first; an import only goes down:

- words: errors, hosts, settings, roles, conditions, asgi, request_log; state (what survives a restart, and the clock)
- rules on the state: access_tokens, quotas, iam
- context: the `Sandbox` that every service is given
- services: registry (the protocol, what cgr.dev holds, a cache and its upstream), chainguard and google, each a file a
  service; conformance says what of Google's is played
- server: which port is which host, refusals, the log
- process (start, stop, environment) with __main__, the server's process; chainctl and gcloud_helper, which are clients
"""
