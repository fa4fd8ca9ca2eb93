"""The application's registration with Django."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Suites, runs, results."""

    name = "runs"
    verbose_name = "Runs"
