"""The processes that `itdash demo` is made of besides the servers: `python -m itdash.cli._demo_part PART …`.

Parts: `engine` settles on an engine and prints the choice as JSON; `stay` and `leave` make the project and
follow its run, and differ in what they say at the end; `bare` behind them leaves the sample data out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import django


def main(part: str, *words: str) -> int:
    """Do one part; returns the exit code."""
    django.setup()
    from itdash import demo  # noqa: PLC0415 - its models need the applications

    if part == "engine":
        print(json.dumps(asdict(demo.choose_engine())))
        return 0
    return demo.play(leave=part == "leave", with_past="bare" not in words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
