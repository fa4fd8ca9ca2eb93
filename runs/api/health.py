"""`/healthz` alive, `/readyz` can serve, `/metrics` for Prometheus. Public: no project is named."""

from __future__ import annotations

import logging
from http import HTTPStatus

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from environments.models import Environment
from runs.models import Upload
from runs.queries.gauges import runs_by_status

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_SECONDS = 2


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "alive"})


@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """Database, schema and broker are there; 503 names what is not and the mend.

    Anybody may ask. What the driver said names hosts and users, and is for the log alone.
    """
    checks = {"database": _database(), "broker": _broker()}
    ready = not any(checks.values())
    body = {
        "status": "ready" if ready else "not ready",
        "checks": {name: complaint or "ok" for name, complaint in checks.items()},
    }
    return JsonResponse(body, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """Gauges in Prometheus' text format."""
    lines = ["# HELP itdash_runs Runs by status.", "# TYPE itdash_runs gauge"]
    lines += [f'itdash_runs{{status="{status}"}} {count}' for status, count in runs_by_status()]
    waiting = Upload.objects.filter(status="received").count()
    living = Environment.objects.exclude(state="removed").count()
    lines += [
        "# HELP itdash_uploads_waiting Uploads received and not yet stored.",
        "# TYPE itdash_uploads_waiting gauge",
        f"itdash_uploads_waiting {waiting}",
        "# HELP itdash_environments Environments not yet removed.",
        "# TYPE itdash_environments gauge",
        f"itdash_environments {living}",
    ]
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4; charset=utf-8")


def _database() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        logger.warning("Not ready: the database does not answer: %s", error)
        return "no answer. Check DATABASE_URL and the server; the log says more."
    return f"{len(pending)} migrations are missing. Run `manage.py migrate`." if pending else ""


def _broker() -> str:
    try:
        with redis.Redis.from_url(
            settings.BROKER_URL,
            socket_timeout=BROKER_TIMEOUT_SECONDS,
            socket_connect_timeout=BROKER_TIMEOUT_SECONDS,
        ) as broker:
            broker.ping()
    except redis.RedisError as error:
        logger.warning("Not ready: the broker does not answer: %s", error)
        return "no answer. Check BROKER_URL and the server; the log says more."
    return ""
