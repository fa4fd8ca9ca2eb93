"""The section of a project's settings about what its environments may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms

from environments.grants import GRANTS, Quota
from runs.models import Project

_GIBIBYTE: Final = 1024**3


class PolicyForm(forms.Form):
    """Grants, and the quota: an empty field is everyone's."""

    grants = forms.MultipleChoiceField(choices=GRANTS, required=False)
    services = forms.IntegerField(required=False)
    #: GiB.
    memory_bytes = forms.FloatField(required=False)
    cpus = forms.FloatField(required=False)

    def quota(self) -> dict[str, int | float]:
        """What a valid form asks for, memory in bytes; nothing for what is everyone's."""
        values = self.cleaned_data
        memory = values["memory_bytes"]
        asked = {
            "services": values["services"],
            "memory_bytes": None if memory is None else round(memory * _GIBIBYTE),
            "cpus": values["cpus"],
        }
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant, what it lets services do, and whether the project has it."""

    name: str
    words: str
    is_granted: bool


def policy_form(project: Project) -> PolicyForm:
    """The form with what the project has."""
    quota = dict(project.policy_quota)
    if "memory_bytes" in quota:
        quota["memory_bytes"] = f"{quota['memory_bytes'] / _GIBIBYTE:g}"
    if "cpus" in quota:
        quota["cpus"] = f"{quota['cpus']:g}"
    return PolicyForm(initial={"grants": project.policy_grants, **quota})


def policy_section(project: Project, form: PolicyForm | None) -> dict[str, Any]:
    """What the section shows, in the page's context."""
    usual = Quota()
    return {
        "policy": form or policy_form(project),
        "grant_rows": _rows(project),
        "usual_quota": {
            "services": usual.services,
            "memory": f"{usual.memory_bytes / _GIBIBYTE:g}",
            "cpus": f"{usual.cpus:g}",
        },
    }


def _rows(project: Project) -> Sequence[GrantRow]:
    return [GrantRow(name, words, name in project.policy_grants) for name, words in GRANTS.items()]
