"""A short form of `make fuzz`: damaged uploads of every format are read or refused, never anything else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from runs.vocabulary import Outcome
from tests.runs.ingestion.fuzzing import PACKINGS, SEEDS, Change, check, damaged, documents, read_all


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
def test_damaged_uploads_are_read_or_refused(document: tuple[bytes, list[Change]]) -> None:
    check(damaged(*document))


@pytest.mark.parametrize("packing", ["", *PACKINGS])
def test_the_undamaged_ones_are_read_whole(packing: str) -> None:
    for seed in filter(None, SEEDS):
        cases, reasons = read_all(PACKINGS[packing](seed) if packing else seed)

        assert cases
        assert reasons == []
        assert {one.outcome for case in cases for one in case.attempts} & {Outcome.FAILED, Outcome.ERRORED}
