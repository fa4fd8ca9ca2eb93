"""The failures behind a count: grouped by what failed, and by what kind of evidence there was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q

from runs.analytics.blame import EvidenceKind
from runs.models import Blame, Project, Service, TestCase
from runs.queries.blames import KINDS, OfKind

#: Failures read, newest first, and groups listed.
FAILURE_LIMIT = 2_000
GROUP_LIMIT = 50
#: Every failure for which some service is blamed.
ANY = "*"

_WANTED = """
b.project_id = %(project)s AND b.run_at >= %(since)s AND b.run_at < %(until)s
  AND CASE %(service)s
      WHEN '*' THEN cardinality(b.services) > 0
      WHEN '' THEN cardinality(b.services) = 0
      ELSE b.services @> ARRAY[%(service)s::text] END
"""
# Chosen before anything is looked up for them: of a run with thousands of failures few may be wanted.
_FAILURES = f"""
WITH chosen AS MATERIALIZED (
    SELECT b.run_id, b.case_id, b.run_at, b.services, b.suspects FROM runs_blame b
    WHERE {_WANTED}
    ORDER BY b.run_at DESC, b.run_id DESC, b.case_id
    LIMIT %(limit)s
)
SELECT b.run_id, run.number, b.case_id, b.run_at, b.services, b.suspects -> 0 ->> 'strength',
       ARRAY(SELECT DISTINCT jsonb_path_query(
           b.suspects, '$[*] ? (@.rank == 1).evidence[*].kind'
       ) #>> '{{}}'),
       f.fingerprint, left(coalesce(nullif(f.message, ''), nullif(f.text, ''), f.kind, ''), 1000)
FROM chosen b
JOIN runs_run run ON run.id = b.run_id
LEFT JOIN LATERAL (
    SELECT r.failure_id FROM runs_result r
    WHERE r.run_at = b.run_at AND r.run_id + 0 = b.run_id AND r.case_id = b.case_id OFFSET 0
) r ON true
LEFT JOIN runs_failure f ON f.id = r.failure_id
ORDER BY b.run_at DESC, b.run_id DESC, b.case_id
"""  # noqa: S608 - of constants
_KINDS = f"""
SELECT kind, count(*), count(*) FILTER (WHERE together = 1) FROM (
    SELECT k.kind, count(*) OVER (PARTITION BY b.id) AS together
    FROM runs_blame b CROSS JOIN LATERAL (
        SELECT DISTINCT jsonb_path_query(
            b.suspects,
            '$[*] ? (@.rank == 1 && ($name == "*" || @.service == $name)).evidence[*].kind',
            jsonb_build_object('name', %(service)s::text)
        ) #>> '{{}}' AS kind
    ) k
    WHERE {_WANTED}
) found GROUP BY kind
"""  # noqa: S608 - of constants


@dataclass(slots=True)
class BlamedGroup:
    """Failures that are the same failure, as far as they were wanted."""

    key: str
    message: str
    #: The run in which it was seen last.
    run_number: int
    last_at: datetime
    count: int = 0
    cases: set[int] = field(default_factory=set)
    runs: set[int] = field(default_factory=set)
    services: dict[str, int] = field(default_factory=dict)
    strengths: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)

    @property
    def strength(self) -> str:
        """The strongest evidence among them; empty when no service is blamed."""
        return next((word for word in ("strong", "moderate", "weak") if word in self.strengths), "")

    @property
    def evidence(self) -> list[str]:
        """The kinds of evidence in words, the most telling first."""
        return [KINDS[kind][1] for kind in EvidenceKind if kind in self.kinds]


@dataclass(frozen=True, slots=True)
class BlamedFailures:
    """The wanted failures in groups, the largest first."""

    groups: list[BlamedGroup]
    failure_count: int
    #: There are more failures than were read.
    has_more: bool
    hidden_count: int


@dataclass(frozen=True, slots=True)
class KindRow(OfKind):
    """How many failures had evidence of a kind, and how many had no other."""

    count: int
    alone: int

    @property
    def parts(self) -> list[tuple[str, float]]:
        """Its count, for a bar."""
        return [("m-skip", self.count)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failures: a service's, those without one (empty), or all for which some service is blamed."""

    project: Project
    since: datetime
    until: datetime
    service: str = ANY

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements above."""
        return {
            "project": self.project.pk,
            "since": self.since,
            "until": self.until,
            "service": self.service,
            "limit": FAILURE_LIMIT + 1,
        }


def blamed_failures(wanted: Wanted) -> BlamedFailures:
    """The newest `FAILURE_LIMIT` of them in groups: one query."""
    groups: dict[bytes, BlamedGroup] = {}
    count, has_more = 0, False
    for number, row in enumerate(_rows(wanted)):
        if number == FAILURE_LIMIT:
            has_more = True
            break
        count += 1
        run, run_number, case, run_at, services, strength, kinds, fingerprint, message = row
        key = bytes(fingerprint) if fingerprint else b""
        group = groups.get(key)
        if group is None:
            group = groups[key] = BlamedGroup(key.hex()[:12] or "none", message or "", run_number, run_at)
        group.count += 1
        group.cases.add(case)
        group.runs.add(run)
        group.kinds.update(kinds)
        group.strengths |= {strength} if strength else set()
        for service in services:
            group.services[service] = group.services.get(service, 0) + 1
    ordered = sorted(groups.values(), key=lambda group: (-group.count, -group.last_at.timestamp()))
    return BlamedFailures(
        groups=ordered[:GROUP_LIMIT],
        failure_count=count,
        has_more=has_more,
        hidden_count=max(0, len(ordered) - GROUP_LIMIT),
    )


def _rows(wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_FAILURES, wanted.parameters)
        yield from cursor.fetchall()


def evidence_kinds(wanted: Wanted) -> list[KindRow]:
    """The kinds of evidence against the blamed services, the most frequent first: one query."""
    with connection.cursor() as cursor:
        cursor.execute(_KINDS, wanted.parameters)
        rows = [KindRow(EvidenceKind(kind), count, alone) for kind, count, alone in cursor.fetchall()]
    return sorted(rows, key=lambda row: (-row.count, list(EvidenceKind).index(row.kind)))


def blames_before(service: Service, *, moment: tuple[datetime, int] | None, limit: int) -> list[Blame]:
    """Up to `limit` blames of the service, newest first, before the one at (run's moment, id)."""
    rows = Blame.objects.filter(project=service.project_id, services__contains=[service.name])
    if moment is not None:
        at, blame = moment
        rows = rows.filter(Q(run_at__lt=at) | Q(run_at=at, pk__lt=blame))
    return list(rows.select_related("run", "case").order_by("-run_at", "-pk")[:limit])


#: How far back a test's failures are counted by service.
CASE_DAYS = 28
_CASE_SERVICES_LISTED = 8


@dataclass(frozen=True, slots=True)
class CaseBlames:
    """The services that a test's failures of the last days are held against."""

    days: int
    failure_count: int
    #: The most blamed first.
    services: list[tuple[str, int]]
    nobody_count: int


def blames_of_case(case: TestCase, *, now: datetime) -> CaseBlames:
    """One query, by the index of a case's blames."""
    found = list(
        Blame.objects.filter(case=case, run_at__gte=now - timedelta(days=CASE_DAYS)).values_list(
            "services", flat=True
        )[:FAILURE_LIMIT]
    )
    counts = Counter(service for services in found for service in services)
    return CaseBlames(
        days=CASE_DAYS,
        failure_count=len(found),
        services=sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_CASE_SERVICES_LISTED],
        nobody_count=sum(1 for services in found if not services),
    )
