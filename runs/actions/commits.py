"""What is taken for a commit, from whoever names one."""

from __future__ import annotations

import re
from typing import Final

from runs.actions.errors import InvalidValueError

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")


def refuse_bad_commit(commit: str) -> None:
    """Let pass 7 to 64 hexadecimal digits, or nothing: a commit stands in the addresses that Git hosts are
    asked at.

    Raises:
        InvalidValueError: it is something else.
    """
    if commit and not _COMMIT.fullmatch(commit):
        message = f"“{commit[:80]}” is no commit: 7 to 64 hexadecimal digits are."
        raise InvalidValueError("commit", message)
