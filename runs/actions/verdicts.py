"""Decide a run's verdict when it ends: what its tests say, after quarantine and the suite's gates."""

from __future__ import annotations

from runs.actions.events import NewEvent, record_event
from runs.actions.quarantine import tell_spared
from runs.analytics.flakiness import FlakeState
from runs.analytics.gates import (
    Holding,
    Ruling,
    judge_duration,
    judge_new_failures,
    judge_new_flaky,
    not_applied,
)
from runs.analytics.samples import median
from runs.models import CaseState, Event, Quarantine, Result, Run
from runs.queries.baseline import base_runs, passed_durations, unsound_cases
from runs.queries.quarantine import Gate, gate_of
from runs.vocabulary import FAILING, Outcome, RunStatus, Verdict

#: A test in one of these states passes after a failed attempt for no reason of the change.
_KNOWN_FLAKY = [FlakeState.LIKELY_FLAKY.name.lower(), FlakeState.FLAKY.name.lower()]


def decide_verdict(run_id: int) -> Verdict:
    """Write verdict and reasons of a run that has its status and totals; may be called again.

    Called in the transaction that ends the run, so that nobody sees an end without its verdict.
    """
    run = Run.objects.select_related("project").get(pk=run_id)
    rulings = _rulings(run) if run.gates and run.status in {RunStatus.PASSED, RunStatus.FAILED} else []
    gate = gate_of(run)
    run.verdict = _verdict(gate, rulings)
    run.verdict_reasons = [ruling.sentence for ruling in rulings]
    Run.objects.filter(pk=run_id).update(
        verdict=run.verdict, verdict_reasons=run.verdict_reasons, verdict_base=run.verdict_base
    )
    tell_spared(gate)
    _tell(run, rulings)
    return Verdict(run.verdict)


def _rulings(run: Run) -> list[Ruling]:
    """What each gate says, in this order; notes on the run which one it was compared with."""
    judges = {"new_failures": _new_failures, "new_flaky": _new_flaky, "duration_increase": _duration}
    wanted = [gate for gate in judges if gate in run.gates]
    bases = base_runs(run)
    run.verdict_base = bases[0] if bases else None
    if run.verdict_base is None:
        why = f"there is no finished run on {run.project.default_branch} to compare with"
        strictly = {"new_failures": f"{why}: every failure counts"}
        return [not_applied(gate, strictly.get(gate, why)) for gate in wanted]
    return [judges[gate](run, run.verdict_base, bases) for gate in wanted]


def _new_failures(run: Run, base: Run, _bases: list[Run]) -> Ruling:
    failed = _cases(run, *FAILING) - _quarantined(run)
    known = failed & unsound_cases(base)
    new_count = len(failed) - len(known)
    return judge_new_failures(run.gates["new_failures"], new=new_count, known=len(known), base=_named(base))


def _new_flaky(run: Run, base: Run, _bases: list[Run]) -> Ruling:
    flaky = _cases(run, Outcome.FLAKY) - _quarantined(run)
    known = flaky & unsound_cases(base)
    states = CaseState.objects.filter(case__in=flaky, flakiness__in=_KNOWN_FLAKY)
    known |= set(states.values_list("case_id", flat=True))
    new_count = len(flaky) - len(known)
    return judge_new_flaky(run.gates["new_flaky"], new=new_count, known=len(known), base=_named(base))


def _duration(run: Run, _base: Run, bases: list[Run]) -> Ruling:
    if run.selection:
        return not_applied("duration_increase", "only selected tests ran")
    passed = passed_durations(bases)
    if not passed:
        branch = run.project.default_branch
        return not_applied("duration_increase", f"none of the newest runs on {branch} passed")
    return judge_duration(
        run.gates["duration_increase"],
        seconds=None if run.duration_ms is None else run.duration_ms / 1000,
        usual_seconds=median(passed) / 1000,
        passes=len(passed),
    )


def _verdict(gate: Gate, rulings: list[Ruling]) -> Verdict:
    if any(ruling.holding is Holding.FAILS for ruling in rulings):
        return Verdict.FAIL
    excuses = any(ruling.gate == "new_failures" and ruling.holding is Holding.HOLDS for ruling in rulings)
    if gate.run.status == RunStatus.FAILED and gate.failing_count and not gate.broken_shards and excuses:
        return Verdict.PASS
    return gate.strict_verdict


def _tell(run: Run, rulings: list[Ruling]) -> None:
    """Put what the gates said on the timeline; the same thing once."""
    message = " ".join(run.verdict_reasons)
    if rulings and not Event.objects.filter(run=run, kind="gated", message=message).exists():
        data = {"verdict": run.verdict, "base": run.verdict_base_id}
        record_event(run.pk, NewEvent("gated", message, data=data))


def _named(base: Run) -> str:
    return f"#{base.number} on {base.branch}"


def _cases(run: Run, *outcomes: Outcome) -> set[int]:
    found = Result.objects.filter(run_at=run.run_at, run=run.pk, outcome__in=sorted(outcomes))
    return set(found.values_list("case_id", flat=True))


def _quarantined(run: Run) -> set[int]:
    held = Quarantine.objects.in_force(run.run_at).filter(case__suite=run.suite_id)
    return set(held.values_list("case_id", flat=True))
