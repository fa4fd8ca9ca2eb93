"""Keep secrets out of what a run leaves behind: its log, its timeline, its reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from environments.spec import EMPTY

MASK: Final = "•••"
#: Characters. A shorter value is also an ordinary word somewhere, and its mask would say where.
SHORTEST: Final = 8
_NAME: Final = re.compile(
    r"PASS(WORD|WD|PHRASE)|(^|_)PASS(_|$)|SECRET|TOKEN|CREDENTIAL"
    r"|(API|ACCESS|PRIVATE|AUTH|SIGNING|ENCRYPTION)_?KEY",
    re.IGNORECASE,
)


class Masker:
    """Takes the values of a project's variables that are called like secrets out of text, and what `secrets`
    of a Compose file hold.

    What the file says elsewhere is not among them: it stands in the repository for everyone to read, and
    `postgres`, which is many a test's password, would go missing from every line that speaks of PostgreSQL.
    """

    def __init__(self, variables: Mapping[str, str] = EMPTY) -> None:
        self._values = [value for name, value in variables.items() if _NAME.search(name)]
        self._secret = _pattern(self._values)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these as well from now on."""
        self._values += secrets
        self._secret = _pattern(self._values)

    def text(self, text: str) -> str:
        """The text with every secret replaced, also where it is written as in an address."""
        return self._secret.sub(MASK, text) if self._secret else text

    def data(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values, however nested, with every text in them masked."""
        if self._secret is None:
            return values
        return {key: self._masked(value) for key, value in values.items()}

    def _masked(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {key: self._masked(one) for key, one in value.items()}
            case list() | tuple():
                return [self._masked(one) for one in value]
        return value


def _pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    forms = {form for value in values if len(value) >= SHORTEST for form in (value, quote(value, safe=""))}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if forms else None
