"""What the engine measures of a container, in our words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from environments.docker_engine import streams
from environments.engine import Usage


def samples(data: Iterator[bytes], machine_memory_bytes: int) -> Iterator[Usage]:
    """Samples from the engine's stream; a container that does not run gives none."""
    buffer = b""
    for chunk in data:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            if line.strip() and (sample := _usage(json.loads(line), machine_memory_bytes)) is not None:
                yield sample


def _usage(said: Mapping[str, Any], machine_memory_bytes: int) -> Usage | None:
    at = streams.moment(said.get("read", ""))
    memory = said.get("memory_stats") or {}
    cpu = said.get("cpu_stats") or {}
    # A container that is ending has the form of a sample without what was measured.
    if at is None or "usage" not in memory:
        return None
    limit = int(memory.get("limit", 0))
    throttling = cpu.get("throttling_data") or {}
    return Usage(
        at=at,
        cpu_ns=int((cpu.get("cpu_usage") or {}).get("total_usage", 0)),
        memory_bytes=max(0, int(memory["usage"]) - _cache(memory.get("stats") or {})),
        # Without a limit the engine names the machine's memory, or a number beyond it.
        memory_limit_bytes=limit if 0 < limit < machine_memory_bytes else None,
        throttled_ns=int(throttling["throttled_time"]) if "throttled_time" in throttling else None,
    )


def _cache(stats: Mapping[str, int]) -> int:
    """File cache that the kernel takes back when memory is short: named so in the first and second version
    of control groups."""
    return int(stats.get("total_inactive_file", stats.get("inactive_file", 0)))
