"""The engine's answers in our words."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import requests
from docker.errors import APIError, NotFound

from environments.docker_engine import publishing, streams
from environments.docker_engine.errors import explanation, is_conflict, is_missing
from environments.engine import ExecResult, Health, ServiceState, ServiceStatus
from environments.errors import EnvironmentFailedError, FailureKind, ServiceNotFoundError
from environments.labels import EnvironmentRef

#: A command that does not exist: shells say 127, the engine says 126 and explains.
NOT_FOUND_EXIT_CODE = 127
PROBES_SHOWN = 5
#: What Podman says, without a status of its own, of a change that the container's state makes none.
_STATE_IMPROPER = "container state improper"
PROBE_OUTPUT_CHARACTERS = 1024
STATUSES = {
    "created": ServiceStatus.CREATED,
    "running": ServiceStatus.RUNNING,
    "paused": ServiceStatus.PAUSED,
    "restarting": ServiceStatus.RESTARTING,
    "exited": ServiceStatus.EXITED,
    "dead": ServiceStatus.EXITED,
    "removing": ServiceStatus.GONE,
}


def unknown(environment: EnvironmentRef, service: str) -> ServiceNotFoundError:
    """The error for a service that is not there."""
    return ServiceNotFoundError(f"There is no service '{service}' in environment {environment.name}.")


def state(service: str, facts: Mapping[str, Any]) -> ServiceState:
    """A service as an inspection shows it."""
    state = facts["State"]
    status = STATUSES.get(state["Status"], ServiceStatus.GONE)
    health = state.get("Health") or {}
    has_ended = status is ServiceStatus.EXITED or bool(state.get("Error"))
    started_at = streams.moment(state["StartedAt"])
    finished_at = streams.moment(state["FinishedAt"]) if status is ServiceStatus.EXITED else None
    if started_at and finished_at:
        # The engine may note the start of a process only after it noted the end of it.
        finished_at = max(started_at, finished_at)
    return ServiceState(
        service=service,
        status=status,
        health=Health(health.get("Status") or Health.NONE),
        exit_code=state["ExitCode"] if has_ended else None,
        out_of_memory=bool(state.get("OOMKilled")),
        restart_count=facts.get("RestartCount", 0),
        created_at=streams.moment(facts["Created"]),
        started_at=started_at,
        finished_at=finished_at,
        image=facts["Image"],
        error=state.get("Error", ""),
        published=publishing.addresses(facts),
        probe_outputs=tuple(
            str(probe.get("Output", "")).strip()[-PROBE_OUTPUT_CHARACTERS:]
            for probe in (health.get("Log") or [])[-PROBES_SHOWN:]
        ),
    )


def is_so_already(error: APIError) -> bool:
    """Say whether a change was refused because the service is in that state already."""
    said = str(error.explanation)
    return error.status_code == requests.codes.not_modified or any(
        text in said for text in ("already paused", "is not paused", "is not running", _STATE_IMPROPER)
    )


def not_executed(error: APIError, service: str) -> ExecResult:
    """What became of a command that was refused; raises what is not about the command."""
    said = explanation(error)
    if is_conflict(error) or _STATE_IMPROPER in said:
        message = f"Service '{service}' does not run, so no command can run in it. {said}"
        raise EnvironmentFailedError(message, kind=FailureKind.SERVICE_EXITED, service=service) from error
    if is_missing(error) and "no such container" in said.lower():
        message = f"There is no service '{service}'."
        raise ServiceNotFoundError(message) from error
    if "executable file not found" in said or "no such file or directory" in said:
        return ExecResult(exit_code=NOT_FOUND_EXIT_CODE, output=said)
    raise error


def exit_code(code: int, text: str) -> int:
    """The engine's 126 for a program that is not there, as every shell says it."""
    if code in {126, 127} and "OCI runtime exec failed" in text and "permission denied" not in text:
        return NOT_FOUND_EXIT_CODE
    return code


def raise_for(response: requests.Response) -> None:
    """Raise what a refused request of ours came to; for calls that the SDK has no method for."""
    if response.ok:
        return
    try:
        said = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = response.reason
    kind = NotFound if response.status_code == requests.codes.not_found else APIError
    response.close()
    raise kind(f"{response.status_code}: {said}", response=response, explanation=said)


def link_target(response: requests.Response) -> str:
    """Where the path of an archive leads when it is a link; empty when it is none."""
    facts = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
    return str(facts.get("linkTarget") or "")


def seconds(moment: datetime) -> str:
    """A moment as the engine's queries want it, exact to the microsecond."""
    whole = moment.astimezone(UTC)
    return f"{int(whole.timestamp())}.{whole.microsecond:06d}"


def reason(error: BaseException) -> str:
    """The innermost reason, without the layers of wrapping around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error)
