"""The life of one environment: provisioned, ready, watched, torn down; undone in reverse from any point.

How a caller uses it (the names below are stable):

    request = EnvironmentRequest(
        owner="run:17", shard=1, spec=spec, tests="integration-tests", expires_at=end,
        variables={"*": {"A": "for every service"}, "integration-tests": {"ITDASH_RUN_ID": "17"}},
    )
    with provisioned(request, engine=engine, tell=tell, log=log, stop=stop) as environment:
        environment.run_in("user-service", ["/bin/sh", "-c", "alembic upgrade head"], timeout_seconds=60)
        environment.start_tests()
        state = environment.wait_for_tests(deadline_seconds=1200)   # state.exit_code
        for file in environment.collect("integration-tests", ["/results/**/*.xml"]):
            keep(file.path, file.stream)

Entering brings up every service except the tests' one and returns when everything the tests depend on is
ready. Leaving, however it is left, flushes logs, reads the last states and removes everything; one that
failed and whose request says `keep` is held for a person instead (`keeping`), as is one whose owner called
`environment.hold(because)`, and then the row alone holds it. While it is entered, the lease on the row is
renewed; a process that dies simply stops renewing and the reaper removes what it left.

Raised on entering: `EnvironmentFailedError` (kind, service, evidence), `StoppedError` (the caller set it),
`DeadlineExceededError` never: an environment that is not ready in time is `EnvironmentFailedError` with kind
NEVER_HEALTHY and every unmet condition in its message.

`tell` and `log` are called from several threads, one call at a time each, and must return quickly; what they
raise is logged and otherwise ignored. `stop` is only read.
"""

from environments.lifecycle.live import LiveEnvironment
from environments.lifecycle.provisioning import provisioned
from environments.lifecycle.records import renew
from environments.lifecycle.requests import EnvironmentRequest, Happening, HappeningKind, Keep, Recipe

__all__ = [
    "EnvironmentRequest",
    "Happening",
    "HappeningKind",
    "Keep",
    "LiveEnvironment",
    "Recipe",
    "provisioned",
    "renew",
]
