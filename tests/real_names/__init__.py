"""`--target google-cloud` on the real host names: TLS, real ports, nothing but loopback.

A namespace of its own has a hosts file with every name, an authority that nobody else trusts, and a door on port 443 with the
sandbox behind it. What an operator's machine is given, and no more: no variable, no program and no right of the sandbox.
"""
