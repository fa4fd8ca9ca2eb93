"""The application's registration with Django."""

from django.apps import AppConfig


class EnvironmentsConfig(AppConfig):
    """Environments and their services."""

    name = "environments"
    verbose_name = "Environments"
