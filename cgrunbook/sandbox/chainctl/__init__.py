"""A stand-in for Chainguard's chainctl: `python -m cgrunbook.sandbox.chainctl`, installed as `chainctl` in the sandbox.

__main__.py has the commands and finds the one that is meant, flags.py reads what follows it, login.py holds the session
and asks the platform, pull_tokens.py makes, lists and ends pull tokens, account.py does the rest, output.py prints. Rules
about who may do what are the platform's (chainguard/), asked over its API as the real command does.

Established by documentation or public source: the commands, flags and aliases; the outputs of `pull-token create`;
`items` with `id` and `name` in every `-o json` list; `activeTags` of `images repos list`; `identity`, `email` and
`capabilities` (organisation to role) of `auth status -o json`, its exit status 1 when logged out, "Valid" and "Email"
in its table; the "No folder found" error. Inferred: the other keys, which are those of the API's messages in JSON (an
empty list is left out, as protobuf's JSON leaves it out), the wording of the remaining messages, and the suffixes of
names other than " - registry".

With CGRUNBOOK_SANDBOX_CHAINCTL_EDITION=2024 it plays the edition of August 2024, which had no `auth pull-token`.
"""
