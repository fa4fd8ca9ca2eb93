"""What the API answers of the services behind failures."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Schema

from runs.api.schemas import ResultOut
from runs.models import Blame, Result


class EvidenceOut(Schema):
    """One observation against a service."""

    kind: str = Field(
        description="property, out_of_memory, died, unhealthy, restarted, named or error_lines."
    )
    strength: str = Field(description="weak, moderate or strong.")
    detail: str
    at: datetime | None


class SuspectOut(Schema):
    """A service with what speaks against it."""

    service: str
    rank: int = Field(description="1 for those for which the failure counts; equal ones share a rank.")
    strength: str
    evidence: list[EvidenceOut]


class RuledOutOut(Schema):
    """A service that was watched and is not suspect."""

    service: str
    reasons: list[str]


class BlameOut(Schema):
    """What was found of the services behind a failure."""

    services: list[str] = Field(description="Those for which the failure counts; empty when none is blamed.")
    suspects: list[SuspectOut]
    ruled_out: list[RuledOutOut]
    unwatched: list[str] = Field(description="Services of which neither events nor logs are known.")

    @classmethod
    def of(cls, blame: Blame) -> BlameOut:
        """Shape what was found."""
        return cls(
            services=blame.services,
            suspects=[SuspectOut(**_suspect(one)) for one in blame.suspects],
            ruled_out=[RuledOutOut(**one) for one in blame.ruled_out],
            unwatched=blame.unwatched,
        )


class FailedResultOut(ResultOut):
    """A failed result with the service at fault."""

    blame: BlameOut | None = Field(description="null while nobody looked, and where nothing was looked at.")

    @classmethod
    def failed(cls, result: Result, blame: Blame | None) -> FailedResultOut:
        """Shape a result whose case and failure are loaded."""
        return cls(**ResultOut.of(result).dict(), blame=BlameOut.of(blame) if blame else None)


class FailurePage(Schema):
    """Failed results in the report's order."""

    items: list[FailedResultOut]
    next: str | None


def _suspect(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"evidence": [EvidenceOut(**each) for each in one["evidence"]]}
