"""What a run is made of: one plan for each shard, from the suite and the Compose files it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from environments import policy
from environments.spec import EnvironmentSpec, load_environment
from runs.suitefile import SuiteSpec


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What makes one shard different from the others."""

    #: Among all of the run's, from 1.
    number: int
    #: Among those with the same values of the matrix, from 1.
    slice_number: int
    slice_count: int
    #: The matrix's values.
    variables: Mapping[str, str]
    #: The Compose files as they read with these values.
    spec: EnvironmentSpec


def plan_shards(
    suite: SuiteSpec, folder: Path, *, run_id: int, variables: Mapping[str, str]
) -> list[ShardPlan]:
    """Plan every combination of the matrix times every shard; `variables` are the project's.

    Raises `SpecError` for a Compose file that cannot be used, `PolicyError` for one that asks too much.
    """
    parts = list(product(combinations(suite.matrix), range(1, suite.shards + 1)))
    return [
        ShardPlan(
            number=number,
            slice_number=slice_number,
            slice_count=suite.shards,
            variables=values,
            spec=_spec(
                suite,
                folder,
                {
                    **variables,
                    **values,
                    "CI": "true",
                    "ITDASH": "true",
                    "ITDASH_RUN_ID": str(run_id),
                    "ITDASH_SHARD": str(slice_number),
                    "ITDASH_SHARDS": str(suite.shards),
                },
            ),
        )
        for number, (values, slice_number) in enumerate(parts, start=1)
    ]


def combinations(matrix: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every choice of one value per name, in the file's order; one empty choice without a matrix."""
    return [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]


def _spec(suite: SuiteSpec, folder: Path, variables: Mapping[str, str]) -> EnvironmentSpec:
    spec = load_environment([Path(file) for file in suite.compose], directory=folder, variables=variables)
    policy.check(spec)
    return spec
