"""A run's failures, those put together that are the same failure, however many there are.

They are counted where they are: what comes here is what a page shows of each group, and each kind of finding
once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from runs.models import Run, TestCase
from runs.queries.blames import BlameKind, GroupBlame, group_blame
from runs.queries.failure_groups import GroupHistory, histories

#: Groups that a page shows, the tests named in each, and in all of them together.
GROUP_LIMIT, TEST_LIMIT, NAMED_LIMIT = 50, 40, 400
#: However many groups there are, each names so many tests.
LEAST_NAMED = 5
#: Different findings whose evidence is read. The services held responsible are counted over all.
KIND_LIMIT = 500

_FAILING = """
WITH failing AS MATERIALIZED (
    SELECT r.case_id, r.position, r.failure_id, coalesce(f.fingerprint, '') AS fingerprint
    FROM runs_result r LEFT JOIN runs_failure f ON f.id = r.failure_id
    WHERE r.run_at = %(run_at)s AND r.run_id = %(run)s AND r.outcome IN ('failed', 'errored')
)
"""
# What is shown is chosen before a text is looked for: otherwise that is done for every failure.
_GROUPS = f"""{_FAILING}
, counted AS (
    SELECT fingerprint, count(*) AS number, count(*) OVER () AS group_count,
           row_number() OVER (ORDER BY count(*) DESC, min(position), fingerprint) AS rank
    FROM failing GROUP BY fingerprint
), placed AS (
    SELECT fingerprint, case_id, failure_id,
           row_number() OVER (PARTITION BY fingerprint ORDER BY position, case_id) AS place
    FROM failing
), shown AS MATERIALIZED (
    SELECT c.group_count, c.rank, c.fingerprint, c.number, p.case_id, p.place, p.failure_id
    FROM counted c JOIN placed p ON p.fingerprint = c.fingerprint
    WHERE c.rank <= %(groups)s
      AND p.place <= least(%(tests)s, greatest(%(least)s, %(named)s / least(c.group_count, %(groups)s)))
)
SELECT s.group_count, s.fingerprint, s.number, s.case_id, f.kind, f.message, f.text
FROM shown s LEFT JOIN runs_failure f ON s.place = 1 AND f.id = s.failure_id
ORDER BY s.rank, s.place
"""  # noqa: S608 - of constants
# Each kind of finding once, the most frequent first; then, for each group, who is held responsible how often.
_FINDINGS = f"""{_FAILING}
, kinds AS MATERIALIZED (
    SELECT g.fingerprint, b.services, b.suspects::text, b.ruled_out::text, b.unwatched, count(*) AS number
    FROM failing g JOIN runs_blame b ON b.run_id = %(run)s AND b.case_id = g.case_id
    WHERE g.fingerprint = ANY(%(fingerprints)s)
    GROUP BY g.fingerprint, b.services, b.suspects::text, b.ruled_out::text, b.unwatched
)
(SELECT * FROM kinds ORDER BY number DESC LIMIT %(kinds)s)
UNION ALL
SELECT fingerprint, services, NULL, NULL, NULL, sum(number) FROM kinds GROUP BY fingerprint, services
"""  # noqa: S608 - of constants


class Told(NamedTuple):
    """What a failure tells: the kind, its message, the text."""

    kind: str
    message: str
    text: str


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures that are the same failure."""

    key: str
    #: What the first of them tells; None for those that tell nothing.
    failure: Told | None
    #: How many tests failed so, and the first of them with their states.
    number: int
    tests: list[TestCase]
    #: Which service is to blame; None while nobody looked.
    blame: GroupBlame | None = None
    #: Where else it was seen; None for failures without a text.
    history: GroupHistory | None = None
    #: In hexadecimal, as the group's own page is addressed; empty without a text.
    fingerprint: str = ""

    @property
    def unnamed_count(self) -> int:
        """The tests that are not named."""
        return self.number - len(self.tests)


@dataclass(frozen=True, slots=True)
class RunFailures:
    """The largest groups of a run, and how many there are in all."""

    groups: list[FailureGroup]
    group_count: int

    @property
    def hidden_count(self) -> int:
        """Groups that are not shown."""
        return self.group_count - len(self.groups)


def run_failures(run: Run) -> RunFailures:
    """The run's failed and errored tests by fingerprint, the largest group first; five queries, or none."""
    if not (run.failed_count or run.errored_count):
        return RunFailures([], 0)
    values: dict[str, Any] = {
        "run": run.pk,
        "run_at": run.run_at,
        "groups": GROUP_LIMIT,
        "tests": TEST_LIMIT,
        "named": NAMED_LIMIT,
        "least": LEAST_NAMED,
        "kinds": KIND_LIMIT,
    }
    named: dict[bytes, list[int]] = {}
    told: dict[bytes, Told] = {}
    numbers: dict[bytes, int] = {}
    group_count = 0
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS, values)
        for count, key, number, case, *first in cursor.fetchall():
            fingerprint, group_count = bytes(key), count
            named.setdefault(fingerprint, []).append(case)
            numbers[fingerprint] = number
            if first[0] is not None:
                told[fingerprint] = Told(*first)
    blames = _blames(values | {"fingerprints": list(named)}) if run.is_finished and named else {}
    known = histories(run, sorted(named))
    every = [case for own in named.values() for case in own]
    cases = {case.pk: case for case in TestCase.objects.filter(pk__in=every).select_related("state")}
    groups = [
        FailureGroup(
            key=fingerprint.hex()[:12] or "none",
            failure=told.get(fingerprint),
            number=numbers[fingerprint],
            tests=[cases[case] for case in own if case in cases],
            blame=blames.get(fingerprint),
            history=known.get(fingerprint),
            fingerprint=fingerprint.hex(),
        )
        for fingerprint, own in named.items()
    ]
    return RunFailures(groups, group_count)


def _blames(values: Mapping[str, Any]) -> dict[bytes, GroupBlame | None]:
    """What was found of each group's failures; one query."""
    kinds: defaultdict[bytes, list[BlameKind]] = defaultdict(list)
    counts: defaultdict[bytes, list[tuple[Sequence[str], int]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_FINDINGS, values)
        for key, services, suspects, ruled_out, unwatched, number in cursor.fetchall():
            if suspects is None:
                counts[bytes(key)].append((services, int(number)))
            else:
                one = BlameKind.read(services, suspects, ruled_out, unwatched, int(number))
                kinds[bytes(key)].append(one)
    return {fingerprint: group_blame(kinds[fingerprint], own) for fingerprint, own in counts.items()}
