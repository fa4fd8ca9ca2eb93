"""Environments of a run: what became of them, and letting go of those that are held."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest
from ninja import Field, Router, Status

from environments.models import Environment
from runs.actions.holding import hold_longer, release_environment
from runs.api.answers import Answer
from runs.api.auth import TokenAuth, caller_of, environment_for, run_for
from runs.vocabulary import Scope

router = Router(tags=["environments"])


class EnvironmentOut(Answer):
    """An isolated set of services, of one shard of a run."""

    name: str
    run: int = Field(description="The run's id.")
    shard: int
    attempt: int = Field(description="Which try of the shard it is, from 1.")
    engine: str
    state: str = Field(description="creating, ready, held, removing or removed.")
    created_at: datetime
    ready_at: datetime | None
    removed_at: datetime | None
    held_until: datetime | None = Field(description="Until when it is or was held for a person to look at.")
    held_because: str | None

    @classmethod
    def of(cls, environment: Environment, run_id: int) -> EnvironmentOut:
        """As it is told."""
        return cls(
            name=environment.name,
            run=run_id,
            shard=environment.shard,
            attempt=environment.fence,
            engine=environment.engine,
            state=environment.state,
            created_at=environment.created_at,
            ready_at=environment.ready_at,
            removed_at=environment.removed_at,
            held_until=environment.held_until,
            held_because=environment.held_because or None,
        )


@router.get(
    "/runs/{int:run_id}/environments",
    auth=TokenAuth(Scope.READ),
    response=list[EnvironmentOut],
    summary="A run's environments",
)
def list_environments(request: HttpRequest, run_id: int) -> list[EnvironmentOut]:
    """By shard, every try of it; also after they are gone."""
    run = run_for(request, run_id)
    found = Environment.objects.filter(instance=settings.INSTANCE).of_owner(f"run:{run.pk}")
    return [EnvironmentOut.of(each, run.pk) for each in found.order_by("shard", "fence")]


@router.post(
    "/environments/{environment_name}/release",
    auth=TokenAuth(Scope.TRIGGER),
    response={202: EnvironmentOut},
    summary="Let go of a held environment",
)
def post_release(request: HttpRequest, environment_name: str) -> Status[EnvironmentOut]:
    """Have an environment that is held for a look removed within seconds. 409 when it is not held."""
    environment, run = environment_for(request, environment_name)
    caller = caller_of(request)
    released = release_environment(environment, run=run, by=caller.user, token=caller.token)
    return Status(HTTPStatus.ACCEPTED, EnvironmentOut.of(released, run.pk))


@router.post(
    "/environments/{environment_name}/hold",
    auth=TokenAuth(Scope.TRIGGER),
    response=EnvironmentOut,
    summary="Hold an environment longer",
)
def post_hold(request: HttpRequest, environment_name: str) -> EnvironmentOut:
    """Half an hour more, up to what the installation allows in all. 409 when it is not held, or no longer."""
    environment, run = environment_for(request, environment_name)
    caller = caller_of(request)
    held = hold_longer(environment, run=run, by=caller.user, token=caller.token)
    return EnvironmentOut.of(held, run.pk)
