"""The Celery application. Postgres is the truth; Celery is a doorbell that may ring twice, late or never."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itdash.settings")

from django.conf import settings

# Celery's own command line takes BROKER_URL for itself, and knows no `unix://`.
os.environ["CELERY_BROKER_URL"] = settings.CELERY_BROKER_URL

app = Celery("itdash", broker=settings.CELERY_BROKER_URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # A run may take hours: an unacknowledged message must not ring again meanwhile. The sweeper, not
    # the broker, finds lost runs.
    broker_transport_options={"visibility_timeout": 24 * 3600},
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_default_queue="default",
    task_routes={
        "runs.tasks.execute_run": {"queue": "runs"},
        "runs.tasks.ingest_upload": {"queue": "ingest"},
    },
    beat_schedule={
        "sweep runs": {
            "task": "runs.tasks.sweep_runs",
            "schedule": settings.SWEEP_INTERVAL_SECONDS,
            "options": {"expires": settings.SWEEP_INTERVAL_SECONDS * 2},
        },
        "reap environments": {
            "task": "environments.tasks.reap_environments",
            "schedule": settings.REAP_INTERVAL_SECONDS,
            "options": {"expires": settings.REAP_INTERVAL_SECONDS * 2},
        },
        "keep partitions ahead": {
            "task": "runs.tasks.keep_partitions_ahead",
            "schedule": 6 * 3600,
        },
    },
    timezone="UTC",
)
app.autodiscover_tasks(["runs", "environments"])


@setup_logging.connect
def keep_django_logging(**_: object) -> None:
    """Leave logging as Django's settings configured it; Celery would replace the handlers."""
