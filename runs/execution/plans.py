"""What a run is made of: one plan for each shard, from the suite and the Compose files it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from environments import policy
from environments.errors import PolicyError, Problem
from environments.grants import Quota
from environments.presets import filled
from environments.spec import EnvironmentSpec, load_environment, with_replicas
from environments.spec.source import Map, Mark, nearest, read_yaml
from runs.suitefile import SUITE_FILES, SuiteFileError, SuiteSpec


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
    #: The most that its environment may hold.
    quota: Quota = field(default_factory=Quota)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a project's environments may ask for: an administrator's grants, and the most in all."""

    grants: frozenset[str] = frozenset()
    quota: Quota = field(default_factory=Quota)


def plan_shards(
    suite: SuiteSpec,
    folder: Path,
    *,
    run_id: int,
    variables: Mapping[str, str],
    path: str = "",
    allowance: Allowance | None = None,
) -> list[ShardPlan]:
    """Plan every combination of the matrix times every shard; `variables` are the project's.

    `path` is where the suite file lies in `folder`, the checkout. Raises `SpecError` for a Compose file that
    cannot be used, `PolicyError` for one that asks too much, `SuiteFileError` for a suite that speaks of
    services which are not there.
    """
    allowance = allowance or Allowance()
    _refuse_too_long(suite, allowance.quota, _SuiteFile(folder, path, suite.name))
    parts = list(product(combinations(suite.matrix), range(1, suite.shards + 1)))
    plans = [
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
                allowance,
            ),
            quota=allowance.quota,
        )
        for number, (values, slice_number) in enumerate(parts, start=1)
    ]
    for plan in plans:
        _refuse_unknown_services(suite, plan.spec, _SuiteFile(folder, path, suite.name))
    return plans


def combinations(matrix: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every choice of one value per name, in the file's order; one empty choice without a matrix."""
    return [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())]


def _spec(
    suite: SuiteSpec, folder: Path, variables: Mapping[str, str], allowance: Allowance
) -> EnvironmentSpec:
    files = [Path(file) for file in suite.compose]
    spec = filled(
        load_environment(
            files, directory=folder, variables=variables, name=suite.name, services=[suite.tests]
        )
    )
    spec = replace(spec, grants=allowance.grants)
    policy.check(spec, allowance.quota)
    return spec


@dataclass(frozen=True, slots=True)
class _SuiteFile:
    """Where a suite is written down, to name the line when it is wrong."""

    folder: Path
    path: str
    suite: str

    def place(self, key: str) -> Mark:
        for file in [self.path] if self.path else SUITE_FILES:
            if (self.folder / file).is_file():
                [tree, *_] = read_yaml((self.folder / file).read_text("utf-8"), file=file)
                suites = tree.get("suites") if isinstance(tree, Map) else None
                suite = suites.get(self.suite) if isinstance(suites, Map) else None
                return suite.place(key) if isinstance(suite, Map) else Mark(file, 1)
        return Mark(self.path or SUITE_FILES[0], 1)


def _refuse_too_long(suite: SuiteSpec, quota: Quota, file: _SuiteFile) -> None:
    """Before anything is started, not when the time is up."""
    if suite.timeout_seconds > quota.seconds:
        mark = file.place("timeout")
        message = (
            f"suites.{suite.name}.timeout: {suite.timeout_seconds / 60:g} min is more than the"
            f" {quota.seconds / 60:g} min that the tests of one environment may take."
        )
        mend = "Cut the suite into `shards`, or have an administrator raise the project's quota."
        raise PolicyError(Problem(message, mark.file, mark.line, f"suites.{suite.name}.timeout", mend))


def _refuse_unknown_services(suite: SuiteSpec, spec: EnvironmentSpec, file: _SuiteFile) -> None:
    # A service of several containers goes by theirs, but for the tests' one, which is always one.
    one = {name: replace(service, scale=1) for name, service in spec.services.items() if name == suite.tests}
    known = with_replicas(replace(spec, services={**spec.services, **one}))
    asked = [("tests", suite.tests), *(("before", hook.service) for hook in suite.before)]
    problems = [
        _unknown_service(suite, known, key, service, file.place(key))
        for key, service in asked
        if service not in known.services
    ]
    if problems:
        raise SuiteFileError(*problems)


def _unknown_service(suite: SuiteSpec, spec: EnvironmentSpec, key: str, service: str, mark: Mark) -> Problem:
    return Problem(
        f"there is no service {service!r} in {' + '.join(suite.compose)}; it has {', '.join(spec.services)}.",
        mark.file,
        mark.line,
        f"suites.{suite.name}.{key}",
        nearest(service, spec.services),
    )
