"""What a person may do to an environment: ask for its end."""

from __future__ import annotations

from django.utils import timezone

from environments.lifecycle.records import give_up_lease
from environments.models import Environment, EnvironmentState
from runs.actions.errors import NotPossibleError
from runs.actions.holding import release_environment
from runs.actions.runs import cancel_run
from runs.models import Run, User
from runs.queries.environments import is_newest_try


def tear_down_environment(environment: Environment, *, run: Run, by: User | None) -> str:
    """Have an environment removed; says what happens next.

    While its run goes on, the run is asked to end: its worker holds the environment and removes it in order.
    One that nobody needs any more is left to the reaper.

    Raises:
        NotPossibleError: it is gone.
    """
    environment.refresh_from_db()
    run.refresh_from_db(fields=["status"])
    if environment.removed_at is not None:
        raise NotPossibleError(f"Environment {environment.name} is gone; there is nothing to tear down.")
    if environment.state == EnvironmentState.HELD:
        release_environment(environment, run=run, by=by)
        return f"{environment.name} is held no longer; it is removed within seconds."
    if not run.is_finished and is_newest_try(environment):
        cancel_run(
            run_id=run.pk, by=by, why=f"{by or 'somebody'} asked for {environment.name} to be torn down."
        )
        return "The run was asked to end; its environment is removed with it."
    give_up_lease(environment, timezone.now())
    return "Nobody holds it any more; the reaper removes it with its next round."
