"""A shell where a service of the local engine runs: ``python -I -S inside.py FOLDER [COMMAND …]``.

Run by a person, on the standard library alone: it goes to the service's working folder with the service's
environment and becomes the command, a shell without one. What it needs is in the service's folder, so that
no command that is shown to people holds a secret.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(folder: Path, command: list[str]) -> None:
    """Become the command."""
    program = json.loads((folder / "program.json").read_text())
    os.chdir(program["cwd"])
    words = command or ["sh", "-i"]
    os.execvpe(words[0], words, {**program["environment"], "TERM": os.environ.get("TERM", "dumb")})  # noqa: S606, TID251 - the person's own terminal


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
