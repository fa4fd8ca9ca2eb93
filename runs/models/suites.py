"""Suites and the services of a project."""

from __future__ import annotations

from django.db import models

from runs.models.projects import Project


class Suite(models.Model):
    """A named set of tests that run together. Its definition lives in the repository, at each commit."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="suites")
    name = models.CharField(max_length=120)
    level = models.CharField(max_length=12, default="integration")
    #: Where its suite file lies, relative to the repository's root; empty for the root's itdash.yml.
    path = models.CharField(max_length=500, blank=True, default="")
    #: What the newest suite file said of it, for pages; never used to run.
    definition = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Names are unique in a project."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "name"], name="a_suite_name_is_taken_once_in_a_project"
            ),
            models.CheckConstraint(
                condition=models.Q(level__in=["unit", "integration", "contract", "e2e", "load"]),
                name="a_suite_has_a_known_level",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Service(models.Model):
    """A service of the system under test, as seen in environments and named in reports."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="services")
    name = models.CharField(max_length=250)
    #: The image it ran last.
    image = models.CharField(max_length=500, blank=True, default="")
    first_seen_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now=True)

    class Meta:
        """Names are unique in a project."""

        constraints = (
            models.UniqueConstraint(
                fields=["project", "name"], name="a_service_name_is_taken_once_in_a_project"
            ),
        )

    def __str__(self) -> str:
        return self.name
