"""What was found of the services behind failures, as pages tell it: a line, the evidence, what it was not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from runs.analytics.blame import EvidenceKind
from runs.models import Blame, Run

#: Lines of evidence shown of a group, and services it was not.
EVIDENCE_LIMIT = 8
RULED_OUT_LIMIT = 12

#: Icon and word of each kind of evidence.
KINDS = {
    EvidenceKind.PROPERTY: ("tests", "Report"),
    EvidenceKind.OUT_OF_MEMORY: ("env", "Out of memory"),
    EvidenceKind.DIED: ("env", "Container died"),
    EvidenceKind.UNHEALTHY: ("env", "Unhealthy"),
    EvidenceKind.RESTARTED: ("retry", "Restarted"),
    EvidenceKind.NAMED: ("http", "In the failure"),
    EvidenceKind.ERROR_LINES: ("logs", "Error log"),
}
_STRENGTHS = ["weak", "moderate", "strong"]


@dataclass(frozen=True, slots=True)
class OfKind:
    """What there is of one kind of evidence."""

    kind: EvidenceKind

    @property
    def icon(self) -> str:
        """The name of its icon."""
        return KINDS[self.kind][0]

    @property
    def word(self) -> str:
        """The kind in words."""
        return KINDS[self.kind][1]


@dataclass(frozen=True, slots=True)
class EvidenceLine(OfKind):
    """One observation against a service. `count` failures of the group share it."""

    service: str
    strength: str
    detail: str
    at: datetime | None
    count: int

    @property
    def is_logged(self) -> bool:
        """Whether the service's log is where to look."""
        return self.at is not None


@dataclass(frozen=True, slots=True)
class NotIt:
    """A service that was watched and is not to blame, with the reasons."""

    service: str
    reasons: str


@dataclass(frozen=True, slots=True)
class GroupBlame:
    """What was found of some failures."""

    failure_count: int
    #: Those of them for which some service is blamed.
    blamed_count: int
    #: The services for which they count, with how many of them, the most first.
    services: list[tuple[str, int]]
    #: Of the strongest evidence; empty when no service is blamed.
    strength: str
    evidence: list[EvidenceLine]
    #: Services with weaker evidence against them, which therefore are not blamed.
    lesser: list[str]
    ruled_out: list[NotIt]
    unwatched: list[str]
    hidden_count: int

    @property
    def nobody_count(self) -> int:
        """The failures for which no service is blamed."""
        return self.failure_count - self.blamed_count

    @property
    def is_whole(self) -> bool:
        """Whether each of the blamed services is blamed for every failure of the group."""
        return all(count == self.failure_count for _, count in self.services)

    @property
    def was_watched(self) -> bool:
        """Whether any service was watched while the tests ran."""
        return bool(self.ruled_out) or any(line.at is not None for line in self.evidence)


class BlameKind(NamedTuple):
    """What was found of so many failures alike, as `Blame` keeps it."""

    services: list[str]
    suspects: list[dict[str, Any]]
    ruled_out: list[dict[str, Any]]
    unwatched: list[str]
    number: int = 1

    @classmethod
    def read(
        cls, services: list[str], suspects: str, ruled_out: str, unwatched: list[str], number: int = 1
    ) -> BlameKind:
        """From a row whose JSON is text: what is alike is decoded once."""
        return cls(services, json.loads(suspects), json.loads(ruled_out), unwatched, number)

    @classmethod
    def of(cls, blame: Blame) -> BlameKind:
        """Of one failure."""
        return cls(blame.services, blame.suspects, blame.ruled_out, blame.unwatched)


_FOUND = """
SELECT case_id, services, suspects::text, ruled_out::text, unwatched FROM runs_blame
WHERE run_id = %s AND case_id = ANY(%s)
"""


def blames_of_cases(run: Run, cases: Sequence[int]) -> dict[int, BlameKind]:
    """What was found of the failures of these tests in the run, by case; the same findings are one object."""
    if not cases:
        return {}
    known: dict[tuple[object, ...], BlameKind] = {}
    found: dict[int, BlameKind] = {}
    with connection.cursor() as cursor:
        cursor.execute(_FOUND, [run.pk, list(cases)])
        for case, services, suspects, ruled_out, unwatched in cursor.fetchall():
            key = (*services, suspects, ruled_out, *unwatched)
            if key not in known:
                known[key] = BlameKind.read(services, suspects, ruled_out, unwatched)
            found[case] = known[key]
    return found


def group_blame(
    found: Sequence[BlameKind], counted: Sequence[tuple[Sequence[str], int]]
) -> GroupBlame | None:
    """Tell what was found of some failures as one; None when none was looked at.

    `counted` has all of the failures, those that no service is blamed for too.
    """
    if not counted:
        return None
    counts: Counter[str] = Counter()
    for blamed, number in counted:
        for service in blamed:
            counts[service] += number
    services = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = _lines(found, set(counts))
    strengths = [suspect["strength"] for kind in found for suspect in kind.suspects if suspect["rank"] == 1]
    suspected = {suspect["service"] for kind in found for suspect in kind.suspects}
    ruled_out = {
        one["service"]: ", ".join(one["reasons"])
        for kind in reversed(found)
        for one in kind.ruled_out
        if one["service"] not in suspected
    }
    return GroupBlame(
        failure_count=sum(number for _, number in counted),
        blamed_count=sum(number for blamed, number in counted if blamed),
        services=services,
        strength=max(strengths, key=_STRENGTHS.index, default="") if services else "",
        evidence=lines[:EVIDENCE_LIMIT],
        lesser=sorted(suspected - set(counts)),
        ruled_out=[NotIt(service, ruled_out[service]) for service in sorted(ruled_out)][:RULED_OUT_LIMIT],
        unwatched=sorted({name for kind in found for name in kind.unwatched} - suspected),
        hidden_count=max(0, len(lines) - EVIDENCE_LIMIT) + max(0, len(ruled_out) - RULED_OUT_LIMIT),
    )


def _lines(found: Sequence[BlameKind], blamed: set[str]) -> list[EvidenceLine]:
    """The distinct observations, those against the blamed services first, the strongest first."""
    seen: dict[tuple[str, str, str], EvidenceLine] = {}
    for kind in found:
        for suspect in kind.suspects:
            for one in suspect["evidence"]:
                key = (suspect["service"], one["kind"], one["detail"])
                count = kind.number + (seen[key].count if key in seen else 0)
                seen[key] = evidence_line(suspect["service"], one, count=count)
    kinds = list(EvidenceKind)
    return sorted(
        seen.values(),
        key=lambda line: (
            line.service not in blamed,
            -_STRENGTHS.index(line.strength),
            kinds.index(line.kind),
            -line.count,
            line.service,
            line.detail,
        ),
    )


def evidence_line(service: str, one: dict[str, Any], *, count: int = 1) -> EvidenceLine:
    """One observation as it was kept."""
    return EvidenceLine(
        service=service,
        kind=EvidenceKind(one["kind"]),
        strength=one["strength"],
        detail=one["detail"],
        at=datetime.fromisoformat(one["at"]) if one.get("at") else None,
        count=count,
    )
