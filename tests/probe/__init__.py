"""A walk over the real services, by whoever has a project: it asks what no public source answers, and takes everything away again.

    python -m tests.probe --target google-cloud -p project_id PROJECT
    python -m tests.probe --compare FILE FILE

What it asks is `walk.py`, a list of named calls; docs/services.md says which open question each is about. Requests go out as they
are written there and answers are kept as they come, but for what tells one project, person, run or day from another (`words.py`).
"""
