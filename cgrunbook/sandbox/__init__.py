"""The local double of the services that the guide speaks of; start it with `cgrunbook.sandbox.process`.

Knows the services as their documentation and Google's published schema state them. Knows nothing of the rest of
cgrunbook and imports none of it but `cgrunbook.home`: client and double must not share a mistake.

Its floors, lowest first; an import only goes down:

- words: errors, hosts, settings, roles, conditions, asgi, request_log; state (what survives a restart, and the clock)
- rules on the state: access_tokens, signed_tokens, quotas, iam
- context: the `Sandbox` that every service is given
- services: google and chainguard (control planes), registry (the data planes, and what they share); each a folder whose
  files need files of the others, and no two each other
- server: which port is which host, refusals, the log
- process: start, stop and the environment of clients; on top __main__, the server's process, and the clients chainctl and
  gcloud_helper
"""
