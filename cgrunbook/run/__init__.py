"""A run: how a step is performed, what is remembered of it, and notebooks run one after the other without a person.

It knows steps by their shape and the run folder by its files. It shows and asks only through the `Face` that it is given.
"""
