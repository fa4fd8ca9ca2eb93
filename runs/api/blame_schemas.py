"""What the API answers of the services behind failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ninja import Field

from runs.api.answers import Answer
from runs.api.schemas import ResultOut
from runs.queries.blames import BlameKind
from runs.queries.run_records import ToldResult


class EvidenceOut(Answer):
    """One observation against a service."""

    kind: str = Field(
        description="property, out_of_memory, died, unhealthy, restarted, named or error_lines."
    )
    strength: str = Field(description="weak, moderate or strong.")
    detail: str
    at: datetime | None


class SuspectOut(Answer):
    """A service with what speaks against it."""

    service: str
    rank: int = Field(description="1 for those for which the failure counts; equal ones share a rank.")
    strength: str
    evidence: list[EvidenceOut]


class RuledOutOut(Answer):
    """A service that was watched and is not suspect."""

    service: str
    reasons: list[str]


class BlameOut(Answer):
    """What was found of the services behind a failure."""

    services: list[str] = Field(description="Those for which the failure counts; empty when none is blamed.")
    suspects: list[SuspectOut]
    ruled_out: list[RuledOutOut]
    unwatched: list[str] = Field(description="Services of which neither events nor logs are known.")

    @classmethod
    def of(cls, blame: BlameKind) -> BlameOut:
        """Shape what was found."""
        return cls(
            services=blame.services,
            suspects=blame.suspects,
            ruled_out=blame.ruled_out,
            unwatched=blame.unwatched,
        )


class FailedResultOut(ResultOut):
    """A failed result with the service at fault."""

    blame: BlameOut | None = Field(description="null while nobody looked, and where nothing was looked at.")

    @classmethod
    def all_of(cls, results: Sequence[ToldResult], blames: Mapping[int, BlameKind]) -> list[FailedResultOut]:
        """Shape results with what was found of them by case; what was found alike is shaped once."""
        shaped = {
            id(blame): BlameOut.of(blame) for blame in {id(one): one for one in blames.values()}.values()
        }
        return [
            cls.of(one, blame=shaped[id(blames[one.case_id])] if one.case_id in blames else None)
            for one in results
        ]


class FailurePage(Answer):
    """Failed results in the report's order."""

    items: list[FailedResultOut]
    next: str | None
