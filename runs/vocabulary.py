"""The words of the glossary as values: one spelling in code, database, API and page."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What came of an attempt or a result. `FLAKY` is a result that passed after a failed attempt."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    SKIPPED = "skipped"
    FLAKY = "flaky"


#: Outcomes that count as a failure of the test. An attempt is never `FLAKY`.
FAILING = frozenset({Outcome.FAILED, Outcome.ERRORED})


class Flakiness(StrEnum):
    """What is said of a test. `BROKEN` is told apart from the others: a test can be flaky and broken."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    LIKELY_FLAKY = "likely_flaky"
    FLAKY = "flaky"
    BROKEN = "broken"


class RunStatus(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    INGESTING = "ingesting"
    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


#: A worker holds a lease on a run in one of these.
ACTIVE = frozenset({RunStatus.PREPARING, RunStatus.RUNNING, RunStatus.INGESTING})
FINISHED = frozenset(
    {
        RunStatus.PASSED,
        RunStatus.FAILED,
        RunStatus.ERRORED,
        RunStatus.CANCELLED,
        RunStatus.TIMED_OUT,
    }
)
UNFINISHED = frozenset(RunStatus) - FINISHED


class Verdict(StrEnum):
    """Pass or fail of a finished run after quarantine and gates."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NONE = "none"


class Trigger(StrEnum):
    """Why a run exists."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"
    API = "api"
    PERSON = "person"
    UPLOAD = "upload"
    DEMO = "demo"


class ErrorReason(StrEnum):
    """Why a run errored: the environment or itdash failed, not the tests."""

    CHECKOUT = "checkout"
    SUITE_FILE = "suite_file"
    COMPOSE_FILE = "compose_file"
    POLICY = "policy"
    IMAGE_MISSING = "image_missing"
    #: A registry gives out no more images for now.
    RATE_LIMITED = "rate_limited"
    BUILD_FAILED = "build_failed"
    NEVER_HEALTHY = "never_healthy"
    SERVICE_EXITED = "service_exited"
    PORT = "port"
    DISK = "disk"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    #: The engine cannot do what the Compose file asks for.
    UNSUPPORTED = "unsupported"
    #: A `before` command of the suite file failed.
    HOOK = "hook"
    NO_REPORT = "no_report"
    REPORT_UNREADABLE = "report_unreadable"
    WORKER_LOST = "worker_lost"
    INTERNAL = "internal"


class Level(StrEnum):
    """What a suite's tests reach."""

    UNIT = "unit"
    INTEGRATION = "integration"
    CONTRACT = "contract"
    E2E = "e2e"
    LOAD = "load"


class UploadStatus(StrEnum):
    """What became of an upload or of one report file in it."""

    RECEIVED = "received"
    STORED = "stored"
    PARTIAL = "partial"
    REJECTED = "rejected"


class DeliveryStatus(StrEnum):
    """What became of a webhook."""

    RECEIVED = "received"
    #: It queued runs, or there was nothing to do and that is well.
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    #: Wrongly signed.
    REFUSED = "refused"
    #: A fork's pull request that a member has to approve.
    WAITING = "waiting"
    #: To be sent, for the first time or again.
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


class RenameStatus(StrEnum):
    """What became of the proposal that two cases are one test."""

    #: Waits for a person, or for the rule.
    PROPOSED = "proposed"
    #: Their histories are joined.
    CONFIRMED = "confirmed"
    #: A person said that they are two.
    REFUSED = "refused"
    #: A run held both, or another proposal was confirmed.
    WITHDRAWN = "withdrawn"
    #: They were joined, and are two again.
    PARTED = "parted"


class Role(StrEnum):
    """What a member may do in a project; each includes the ones before it."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a token may do in its project."""

    UPLOAD = "upload"
    TRIGGER = "trigger"
    READ = "read"
    MANAGE = "manage"


class Visibility(StrEnum):
    """Who may read a project without being a member."""

    PRIVATE = "private"
    PUBLIC = "public"
