"""The control API's calls: requests in, answers out; knows nothing of sockets."""

from __future__ import annotations

import hmac
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any

from environments.control.answers import (
    Answer,
    ProblemError,
    Request,
    allow,
    failed,
    moment_of,
    service_facts,
    stamp,
)
from environments.control.controls import Controls, MarkPhase
from environments.control.wishes import partition_wish
from environments.engine import ServiceState
from environments.errors import (
    CommandFailedError,
    DeadlineExceededError,
    EnvironmentFailedError,
    NotPossibleHereError,
    ServiceNotFoundError,
    StoppedError,
    UnknownNameError,
)

#: A test's name in a mark, in characters.
MAX_TEST_NAME_LENGTH = 2000
#: How long a call waits for an earlier one on the same service.
TURN_TIMEOUT_SECONDS = 300.0
#: How long a command or a fault may be asked to last.
MAX_SECONDS = 3600.0
DEFAULT_EXEC_SECONDS = 30.0

_UNPROCESSABLE = HTTPStatus.UNPROCESSABLE_ENTITY


class Api:
    """Answers every call of one environment."""

    def __init__(self, controls: Controls, token: str) -> None:
        self._controls = controls
        self._token = token.encode()
        # Keyed by names that exist only, so it cannot grow without end.
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._verbs: Mapping[str, Callable[[str], None]] = {
            "stop": controls.stop,
            "start": controls.start,
            "restart": controls.restart,
            "pause": controls.pause,
            "unpause": controls.unpause,
            "kill": controls.kill,
        }

    def authorise(self, header: str | None) -> None:
        """Refuse whoever does not send this environment's token."""
        scheme, _, token = (header or "").partition(" ")
        # Compared as bytes: `compare_digest` refuses text outside ASCII, which a client may well send.
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "Send the header 'Authorization: Bearer <ITDASH_CONTROL_TOKEN>'; the variable is set in the"
            " container that runs the tests.",
            headers={"WWW-Authenticate": 'Bearer realm="itdash control API"'},
        )

    def answer(self, request: Request) -> Answer:
        """Do what is asked. Raises `ProblemError` when that cannot be done."""
        try:
            return self._route(request)
        except ServiceNotFoundError as error:
            raise self._unknown_service(str(error)) from error
        except UnknownNameError as error:
            raise ProblemError(HTTPStatus.NOT_FOUND, str(error), known=list(error.known)) from error
        except NotPossibleHereError as error:
            raise ProblemError(_UNPROCESSABLE, str(error), **error.facts) from error
        except CommandFailedError as error:
            status = HTTPStatus.GATEWAY_TIMEOUT if error.timed_out else HTTPStatus.CONFLICT
            raise ProblemError(status, str(error), exit_code=error.exit_code, output=error.output) from error
        except EnvironmentFailedError as error:
            raise failed(error) from error
        except DeadlineExceededError as error:
            detail = f"{error} Look at the service's log: GET /services/{{name}}/logs."
            raise ProblemError(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
        except StoppedError as error:
            detail = "The environment is being taken down; no service can be changed any more."
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error

    def _route(self, request: Request) -> Answer:
        match request.path:
            case ("services", *rest):
                return self._services(request, rest)
            case ("marks",):
                allow(request, "POST")
                return self._mark(request.json())
            case ("data", recipe):
                allow(request, "POST")
                return self._recipe(recipe, request.json() if request.body.strip() else {})
            case ("snapshots", *rest):
                return self._snapshots(request, rest)
            case ("faults", *rest):
                return self._faults(request, rest)
        raise self._no_such_call()

    def _services(self, request: Request, path: Sequence[str]) -> Answer:
        match path:
            case ():
                allow(request, "GET")
                states = self._controls.services()
                return Answer(value={"services": [service_facts(state) for state in states]})
            case (name,):
                allow(request, "GET")
                return Answer(value=service_facts(self._state(name)))
            case (name, "logs"):
                allow(request, "GET")
                return self._logs(name, request)
            case (name, "exec"):
                allow(request, "POST")
                return self._execute(name, request.json())
            case (name, verb) if verb in self._verbs:
                allow(request, "POST")
                return self._change(name, verb)
        raise self._no_such_call()

    def _snapshots(self, request: Request, path: Sequence[str]) -> Answer:
        match path:
            case ():
                allow(request, "POST")
                name = self._named(request.json())
                with self._turn(name):
                    return Answer(HTTPStatus.CREATED, {"id": self._controls.take_snapshot(name)})
            case (snapshot, "restore"):
                allow(request, "POST")
                with self._turn(self._controls.snapshot_service(snapshot)):
                    self._controls.restore_snapshot(snapshot)
                return Answer(value={"id": snapshot})
        raise self._no_such_call()

    def _faults(self, request: Request, path: Sequence[str]) -> Answer:
        match path:
            case ():
                allow(request, "POST")
                return self._begin_fault(request.json())
            case (fault,):
                allow(request, "DELETE")
                self._controls.end_fault(fault)
                return Answer(value={"id": fault})
        raise self._no_such_call()

    def _no_such_call(self) -> ProblemError:
        detail = (
            "There is no such call. Known: GET /services, GET /services/{name}, GET /services/{name}/logs,"
            f" POST /services/{{name}}/{'|'.join(self._verbs)}|exec, POST /data/{{recipe}}, POST /snapshots,"
            " POST /snapshots/{id}/restore, POST /faults, DELETE /faults/{id}, POST /marks."
        )
        return ProblemError(HTTPStatus.NOT_FOUND, detail)

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """One call at a time on a service that there is."""
        self._state(name)
        turn = self._turns[name]
        if not turn.acquire(timeout=TURN_TIMEOUT_SECONDS):
            detail = f"Another call on service '{name}' has not returned; try again when it has."
            raise ProblemError(HTTPStatus.CONFLICT, detail)
        try:
            yield
        finally:
            turn.release()

    def _change(self, name: str, verb: str) -> Answer:
        with self._turn(name):
            self._verbs[verb](name)
        return Answer(value=service_facts(self._state(name)))

    def _logs(self, name: str, request: Request) -> Answer:
        self._state(name)
        since = moment_of(request.query["since"]) if "since" in request.query else None
        stamped = request.query.get("timestamps", "") in {"1", "true"}
        lines = self._controls.logs(name, since)
        return Answer(text=(f"{stamp(line.at)} {line.text}" if stamped else line.text for line in lines))

    def _execute(self, name: str, body: Mapping[str, Any]) -> Answer:
        self._state(name)
        command = body.get("command")
        words = [command] if isinstance(command, str) else command
        if not isinstance(words, list) or not words or not all(_is_word(word) for word in words):
            detail = "'command' must be a list of words, or one text for the service's shell."
            raise ProblemError(_UNPROCESSABLE, detail)
        words = ["/bin/sh", "-c", *words] if isinstance(command, str) else words
        seconds = _seconds(body)
        # No turn: a command may be what another call waits for.
        result = self._controls.execute(name, words, DEFAULT_EXEC_SECONDS if seconds is None else seconds)
        return Answer(value={"exit_code": result.exit_code, "output": result.output})

    def _recipe(self, recipe: str, arguments: Mapping[str, Any]) -> Answer:
        with self._turn(self._controls.recipe_service(recipe)):
            return Answer(HTTPStatus.CREATED, self._controls.run_recipe(recipe, arguments))

    def _begin_fault(self, body: Mapping[str, Any]) -> Answer:
        if body.get("kind") == "partition":
            return self._begin_partition(body)
        name, kind, seconds = self._named(body), body.get("kind"), _seconds(body)
        if unknown := sorted(set(body) - {"service", "kind", "seconds"}):
            detail = f"A fault has no '{unknown[0]}'; send 'service', 'kind' and, if you like, 'seconds'."
            raise ProblemError(_UNPROCESSABLE, detail)
        if not isinstance(kind, str):
            raise ProblemError(_UNPROCESSABLE, "'kind' must say what kind of fault, for example \"pause\".")
        with self._turn(name):
            return Answer(HTTPStatus.CREATED, {"id": self._controls.begin_fault(name, kind, seconds)})

    def _begin_partition(self, body: Mapping[str, Any]) -> Answer:
        wish, seconds = partition_wish(body), _seconds(body)
        with ExitStack() as turns:
            for name in sorted(set(wish.names())):
                turns.enter_context(self._turn(name))
            return Answer(HTTPStatus.CREATED, {"id": self._controls.begin_partition(wish, seconds)})

    def _mark(self, body: Mapping[str, Any]) -> Answer:
        test, phase = body.get("test"), body.get("phase")
        if not isinstance(test, str) or not 0 < len(test) <= MAX_TEST_NAME_LENGTH:
            detail = f"'test' must be the test's name, 1 to {MAX_TEST_NAME_LENGTH} characters."
            raise ProblemError(_UNPROCESSABLE, detail)
        if phase not in ("start", "end"):  # not a set: it may be anything
            raise ProblemError(_UNPROCESSABLE, "'phase' must be 'start' or 'end'.")
        self._controls.mark(test, MarkPhase(phase))
        return Answer(HTTPStatus.CREATED, {"test": test, "phase": phase})

    def _named(self, body: Mapping[str, Any]) -> str:
        name = body.get("service")
        if not isinstance(name, str):
            raise ProblemError(_UNPROCESSABLE, "'service' must be the name of a service.")
        return name

    def _state(self, name: str) -> ServiceState:
        for state in self._controls.services():
            if state.service == name:
                return state
        raise self._unknown_service(name)

    def _unknown_service(self, name: str) -> ProblemError:
        names = sorted(state.service for state in self._controls.services())
        detail = f"There is no service '{name}' in this environment. Its services: {', '.join(names)}."
        return ProblemError(HTTPStatus.NOT_FOUND, detail, services=names)


def _is_word(word: object) -> bool:
    return isinstance(word, str) and "\0" not in word


def _seconds(body: Mapping[str, Any]) -> float | None:
    seconds = body.get("seconds")
    if seconds is None:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    # What is not a number at all (NaN) is neither above nor below.
    if not is_number or not 0 < seconds <= MAX_SECONDS:
        detail = f"'seconds' must be a number above 0 and at most {MAX_SECONDS:g}."
        raise ProblemError(_UNPROCESSABLE, detail)
    return float(seconds)
