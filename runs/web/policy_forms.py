"""The section of a project's settings about what its environments may ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.conf import settings

from environments.grants import GRANTS, Quota
from runs.models import Project

_GIBIBYTE: Final = 1024**3
_MINUTE: Final = 60


class PolicyForm(forms.Form):
    """Grants, and the quota: an empty field is everyone's."""

    grants = forms.MultipleChoiceField(choices=GRANTS, required=False)
    services = forms.IntegerField(required=False)
    networks = forms.IntegerField(required=False)
    volumes = forms.IntegerField(required=False)
    #: GiB.
    memory_bytes = forms.FloatField(required=False)
    cpus = forms.FloatField(required=False)
    #: Minutes.
    seconds = forms.FloatField(required=False)
    #: One place a line.
    images = forms.CharField(required=False, max_length=10_000)

    def quota(self) -> dict[str, float | list[str]]:
        """What a valid form asks for, in the quota's own units; nothing for what is everyone's."""
        values = self.cleaned_data
        memory, minutes = values["memory_bytes"], values["seconds"]
        asked = {name: values[name] for name in ("services", "networks", "volumes", "cpus")} | {
            "memory_bytes": None if memory is None else round(memory * _GIBIBYTE),
            "seconds": None if minutes is None else minutes * _MINUTE,
            "images": values["images"].split() or None,
        }
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, what it lets services do, and whether the project has it."""

    name: str
    words: str
    is_granted: bool


@dataclass(frozen=True, slots=True)
class QuotaField:
    """A number of the quota: its name and words, what is in its field, everyone's, and what is wrong."""

    name: str
    words: str
    value: str
    usual: str
    error: str


#: In the form's order: name, words, and how many of the quota's units one of the field's is.
_FIELDS: Final = (
    ("services", "Services", 1),
    ("networks", "Networks", 1),
    ("volumes", "Volumes", 1),
    ("memory_bytes", "Memory, GiB", _GIBIBYTE),
    ("cpus", "Processors", 1),
    ("seconds", "Tests' time, minutes", _MINUTE),
)


def policy_form(project: Project) -> PolicyForm:
    """The form with what the project has."""
    quota = project.policy_quota
    numbers = {name: f"{quota[name] / unit:g}" for name, _, unit in _FIELDS if name in quota}
    images = "\n".join(quota.get("images", ()))
    return PolicyForm(initial={"grants": project.policy_grants, "images": images, **numbers})


def policy_section(project: Project, form: PolicyForm | None) -> dict[str, Any]:
    """What the section shows, in the page's context."""
    policy = form or policy_form(project)
    return {
        "policy": policy,
        "grant_rows": _rows(project),
        "quota_fields": _quota_fields(policy),
        "usual_images": settings.IMAGES,
        "own_quota": _own(project.policy_quota),
    }


def _rows(project: Project) -> Sequence[GrantRow]:
    return [GrantRow(name, words, name in project.policy_grants) for name, words in GRANTS.items()]


def _quota_fields(form: PolicyForm) -> Sequence[QuotaField]:
    usual = Quota()
    return [
        QuotaField(
            name,
            words,
            "" if form[name].value() is None else str(form[name].value()),
            f"{getattr(usual, name) / unit:g}",
            " ".join(map(str, form.errors.get(name, ()))),
        )
        for name, words, unit in _FIELDS
    ]


def _own(quota: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What differs from everyone's, for those who may not change it."""
    numbers = [(words, f"{quota[name] / unit:g}") for name, words, unit in _FIELDS if name in quota]
    return [*numbers, *([("Images of", ", ".join(quota["images"]))] if quota.get("images") else [])]
