"""The forms of a project's settings: they read words; whether a value can be, the actions say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django import forms

from runs.actions.projects import ADDRESS_LIMIT, BRANCH_LIMIT, NAME_LIMIT, VALUE_LIMIT, VARIABLES_LIMIT
from runs.models import Project
from runs.vocabulary import Role, Scope, Visibility

#: Days that a token can be made for; the last is for ever.
EXPIRIES: Final = {"30": "30 days", "90": "90 days", "365": "a year", "never": "never"}
SCOPES: Final = {
    Scope.UPLOAD: "Send reports",
    Scope.TRIGGER: "Start and cancel runs",
    Scope.READ: "Read runs, results and tests",
    Scope.MANAGE: "Change settings, put tests into quarantine",
}
VISIBILITIES: Final = {
    Visibility.PRIVATE: "Members of the project",
    Visibility.PUBLIC: "Everyone who can open this site, without signing in",
}
ROLES: Final = {
    Role.VIEWER: "Viewer: reads",
    Role.MEMBER: "Member: runs suites, quarantines tests",
    Role.ADMIN: "Administrator: changes the project",
}
_TEXT_LIMIT: Final = VARIABLES_LIMIT * (VALUE_LIMIT + 200)


class ProjectSettingsForm(forms.Form):
    """The section General."""

    name = forms.CharField(max_length=NAME_LIMIT)
    repository_url = forms.CharField(max_length=ADDRESS_LIMIT, required=False)
    default_branch = forms.CharField(max_length=BRANCH_LIMIT)
    visibility = forms.ChoiceField(choices=VISIBILITIES)
    allow_local_engine = forms.BooleanField(required=False)
    variables = forms.CharField(max_length=_TEXT_LIMIT, required=False, strip=False)

    def clean_variables(self) -> dict[str, str]:
        """Read ``KEY=value`` lines; empty ones are passed over."""
        found: dict[str, str] = {}
        lines = self.cleaned_data["variables"].replace("\r\n", "\n").split("\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name, equals, value = line.partition("=")
            name = name.strip()
            if not equals:
                message = f"Line {number} is no variable: write KEY=value."
                raise forms.ValidationError(message)
            if name in found:
                message = f"Line {number} gives {name[:80]} a second value."
                raise forms.ValidationError(message)
            found[name] = value
        return found


class TokenForm(forms.Form):
    """A new token."""

    name = forms.CharField(max_length=NAME_LIMIT)
    scopes = forms.MultipleChoiceField(
        choices=SCOPES, error_messages={"required": "Choose at least one thing that the token may do."}
    )
    expires = forms.ChoiceField(choices=EXPIRIES)

    def clean_name(self) -> str:
        """One line that can be read."""
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            message = "Use printable characters."
            raise forms.ValidationError(message)
        return name

    def expires_at(self, now: datetime) -> datetime | None:
        """When the token of a valid form ends."""
        choice = self.cleaned_data["expires"]
        return None if choice == "never" else now + timedelta(days=int(choice))


class RoleForm(forms.Form):
    """A member's role."""

    role = forms.ChoiceField(choices=ROLES)


class MemberForm(RoleForm):
    """Someone who becomes a member."""

    username = forms.CharField(max_length=150)


class InvitationForm(RoleForm):
    """Someone who gets a link."""

    email = forms.EmailField(max_length=254, required=False)


def settings_form(project: Project) -> ProjectSettingsForm:
    """The form with what the project has."""
    values = {
        "name": project.name,
        "repository_url": project.repository_url,
        "default_branch": project.default_branch,
        "visibility": project.visibility,
        "allow_local_engine": project.allow_local_engine,
        "variables": as_lines(project.variables),
    }
    return ProjectSettingsForm(initial=values)


def as_lines(variables: Mapping[str, str]) -> str:
    """``KEY=value`` lines by name: the database keeps no order."""
    return "\n".join(f"{name}={variables[name]}" for name in sorted(variables))
