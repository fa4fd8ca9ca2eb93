"""The conditions under which a run ran, as names and values, and what of them differs between two runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runs.models import Run, Shard
from runs.queries.samples import PLACE_TAG, UNTIL_TAG

#: Longer values are cut; they are compared whole.
NAME_LIMIT, VALUE_LIMIT = 120, 300
#: Differences that are listed; all are counted.
LISTED = 60


@dataclass(frozen=True, slots=True)
class Setting:
    """One condition in two runs; None where a run has no such thing."""

    name: str
    base: str | None
    head: str | None


@dataclass(frozen=True, slots=True)
class SettingsDiff:
    """What differs, the commit aside, and how many settings are the same."""

    differing: list[Setting]
    differing_count: int
    same_count: int


def settings_diff(base: Run, head: Run) -> SettingsDiff:
    """Compare images, engine, facts, tags and the matrix's values of two runs; one query."""
    shards: dict[int, list[Shard]] = {base.pk: [], head.pk: []}
    for shard in Shard.objects.filter(run__in=[base.pk, head.pk]).only("run_id", "variables"):
        shards[shard.run_id].append(shard)
    before, after = (dict(_settings(run, shards[run.pk])) for run in (base, head))
    names = sorted(before.keys() | after.keys(), key=str.casefold)
    found = [
        Setting(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]
    return SettingsDiff(found[:LISTED], len(found), len(names) - len(found))


def _settings(run: Run, shards: Iterable[Shard]) -> Iterator[tuple[str, str]]:
    facts = dict(run.environment_facts) if isinstance(run.environment_facts, Mapping) else {}
    images = facts.pop("images", {})
    for service, image in images.items() if isinstance(images, Mapping) else ():
        yield f"Image of {service}", str(image)
    for name, value in facts.items():
        yield str(name).replace("_", " ").capitalize() if name in _OWN else str(name), str(value)
    for name, value in run.tags.items() if isinstance(run.tags, Mapping) else ():
        if name not in {PLACE_TAG, UNTIL_TAG}:  # ours, and of no run's making
            yield f"Tag {name}", str(value)
    yield from _matrix(shards)


#: Facts that itdash itself notes; others are named as whoever sent them named them.
_OWN = {"engine", "engine_version", "egress"}


def _matrix(shards: Iterable[Shard]) -> Iterator[tuple[str, str]]:
    values: dict[str, set[str]] = {}
    for shard in shards:
        for name, value in shard.variables.items():
            values.setdefault(name, set()).add(str(value))
    for name, known in values.items():
        yield f"Matrix {name}", ", ".join(sorted(known))
