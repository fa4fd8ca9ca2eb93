"""The wall beside the forms of people without a project: the marks, before any word."""

from __future__ import annotations

#: Eleven rows of invented results.
WALL = (
    "pppppppppppkpppppppppppppppppppppppppppppppp",
    "ppppppppppppppppppppppppspppppppppppppppkppp",
    "pppkpppppppppppppppppppppppppppppppppppppppp",
    "pppppppppppppppppppfpppppppppppppppppppppppp",
    "ppppppppppppppppppppppppppppppppkppppppppppp",
    "pppppppppppppppppppppppkppppppppppppppfffff",
    "ppppppkppppppppppppppppppppppppppppppppfffff",
    "ppppppppppppspppppppppppppppppppppppppffffff",
    "ppppppppppppppppppppppppppppkppppppppppppppp",
    "ppppkppppppppppppppppppppppppppppppppppppppp",
    "ppppppppppppppppppfpppppppppppppppppppspppp",
)
