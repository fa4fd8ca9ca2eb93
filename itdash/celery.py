"""The Celery application. Postgres is the truth; Celery is a doorbell that may ring twice, late or never."""

from __future__ import annotations

import os
import sys

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itdash.settings")

from django.conf import settings
from django.db import close_old_connections, connections

# Celery's own command line takes BROKER_URL for itself, and knows no `unix://`.
os.environ["CELERY_BROKER_URL"] = settings.CELERY_BROKER_URL

app = Celery("itdash", broker=settings.CELERY_BROKER_URL)
app.conf.update(
    task_ignore_result=True,
    # Taken means heard: the sweeper, not the broker, finds what was lost. A message that waited for the end
    # of its run would also end the worker, and the run, when the broker goes away meanwhile.
    task_acks_late=False,
    # Nothing is held back by a worker that is busy while another is idle.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    broker_connection_retry_on_startup=True,
    # A worker looks into its queues by their names and not in turn: uploads before verdicts before messages.
    broker_transport_options={"queue_order_strategy": "sorted"},
    # What libxml2 knows of names in documents stays with its thread: whoever sends ever other ones makes a
    # process grow until it reads no new name of anybody's, beyond 450 MiB. A large report takes some 350.
    worker_max_memory_per_child=400 * 1024,  # KiB; looked at between two tasks
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_default_queue="default",
    task_routes={
        "runs.tasks.execute_run": {"queue": "runs"},
        "runs.tasks.ingest_upload": {"queue": "ingest"},
        "runs.tasks.judge_run": {"queue": "judge"},
        "runs.tasks.send_delivery": {"queue": "send"},
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
        "judge what was forgotten": {
            "task": "runs.tasks.judge_forgotten",
            "schedule": 300.0,
            "options": {"expires": 300},
        },
        "queue due schedules": {
            "task": "runs.tasks.queue_due_schedules",
            "schedule": 10.0,
            # Whoever asks next finds what is still due.
            "options": {"expires": 20.0},
        },
        "keep partitions ahead": {
            "task": "runs.tasks.keep_partitions_ahead",
            "schedule": 6 * 3600,
        },
        "forget what was sent": {
            "task": "runs.tasks.forget_sent",
            "schedule": crontab(hour="3", minute="17"),
        },
        "remove what has outlived its term": {
            "task": "runs.tasks.apply_retention",
            "schedule": crontab(hour="3", minute="29"),
        },
    },
    timezone="UTC",
)
# Celery would end the process' pool of connections before and after each task: a new server process of
# PostgreSQL for each, with nothing in its caches, cost more than the task (docs/decisions/0235).
app.conf["CELERY_DB_REUSE_MAX"] = sys.maxsize
app.autodiscover_tasks(["runs", "environments"])

#: Tasks that start threads, whose connections would not all come back to the pool: theirs ends with them.
_WITH_THREADS = ("runs.tasks.execute_run", "environments.")


@setup_logging.connect
def keep_django_logging(**_: object) -> None:
    """Leave logging as Django's settings configured it; Celery would replace the handlers."""


@task_prerun.connect
@task_postrun.connect
def give_back_connection(sender: object = None, **_: object) -> None:
    """Return the connection to the pool, which looks whether it still works before it gives it out again."""
    if getattr(getattr(sender, "request", None), "is_eager", False):
        return  # within a transaction of its caller
    close_old_connections()
    if str(getattr(sender, "name", "")).startswith(_WITH_THREADS):
        for connection in connections.all(initialized_only=True):
            connection.close_pool()  # type: ignore[attr-defined]
