"""The forms of channels, new ones by group of kinds, and what their section of the settings shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.http import HttpRequest

from runs.models import Channel, Project
from runs.providers import STATUS_HOSTS
from runs.queries.channels import KINDS, ChannelRow, channel_rows
from runs.web.once import taken_once

#: Kinds by the form that makes them, which is also the beginning of its fields' ids.
GROUPS: Final = {
    "status": list(STATUS_HOSTS),
    "slack": ["slack"],
    "email": ["email"],
    "webhook": ["webhook"],
}


class ChannelValuesForm(forms.Form):
    """What a channel is told; which values it needs is its action's to say."""

    address = forms.CharField(max_length=2000, required=False)
    repository = forms.CharField(max_length=250, required=False)
    secret = forms.CharField(max_length=1000, required=False)
    branches = forms.CharField(max_length=4000, required=False)

    def clean_branches(self) -> list[str]:
        """Names with commas or lines between."""
        return [part.strip() for part in re.split(r"[,\n]", self.cleaned_data["branches"]) if part.strip()]


class ChannelForm(ChannelValuesForm):
    """A new channel."""

    kind = forms.ChoiceField(choices=KINDS)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ChannelForm:
        """The form that was filled, with the ids of its group."""
        kind = str(data.get("kind", ""))
        group = next((name for name, kinds in GROUPS.items() if kind in kinds), "webhook")
        return cls(data, auto_id=f"{group}-%s")

    @property
    def group(self) -> str:
        """Which of `GROUPS` it is."""
        return str(self.auto_id).partition("-")[0]


class ChannelChangeForm(ChannelValuesForm):
    """A channel's other values: an address or a secret that is left empty stays as it is."""

    @classmethod
    def of(cls, channel: Channel, data: Mapping[str, Any] | None = None) -> ChannelChangeForm:
        """The form that was filled, or with what the channel has and may be shown."""
        initial = {
            # Whoever knows all of a Slack address, and of many another, may post there.
            "address": "" if channel.kind in {"slack", "webhook"} else channel.address,
            "repository": channel.repository,
            "branches": ", ".join(channel.branches),
        }
        return cls(data, initial=initial, auto_id=f"channel-{channel.pk}-%s")


@dataclass(frozen=True, slots=True)
class ListedChannel:
    """A channel, and the form by which it is changed."""

    row: ChannelRow
    change: ChannelChangeForm


def channel_section(
    request: HttpRequest, project: Project, refused: ChannelForm | ChannelChangeForm | None = None
) -> dict[str, Any]:
    """The context of `projects/_settings_channels.html`."""
    new = refused if isinstance(refused, ChannelForm) else None
    change = refused if isinstance(refused, ChannelChangeForm) else None
    made = taken_once(request, "channel", project.pk)
    blank = {group: _blank(group, project) for group in GROUPS}
    return {
        "channels": list(_listed(project, change)),
        "channel_forms": blank | ({new.group: new} if new else {}),
        "channel_refused": new.group if new else "",
        "channel_secret": made["secret"] if made else "",
        "status_hosts": STATUS_HOSTS.values(),
        "has_mail_server": settings.HAS_MAIL_SERVER,
    }


def _listed(project: Project, refused: ChannelChangeForm | None) -> Iterator[ListedChannel]:
    for row in channel_rows(project):
        form = ChannelChangeForm.of(row.channel)
        yield ListedChannel(row, refused if refused and refused.auto_id == form.auto_id else form)


def _blank(group: str, project: Project) -> ChannelForm:
    initial = {"kind": GROUPS[group][0], **(_guess(project) if group == "status" else {})}
    return ChannelForm(initial=initial, auto_id=f"{group}-%s")


def _guess(project: Project) -> dict[str, str]:
    """Host and repository out of the address that runs are checked out from."""
    written = project.repository_url
    if written.startswith("https://"):
        parts = urlsplit(written)
        host, path = parts.hostname or "", parts.path
    elif found := re.fullmatch(r"(?:ssh://)?(?:[^@/]+@)([^:/]+)(?::\d+)?[:/](.+)", written):
        host, path = found[1], found[2]
    else:
        return {}
    repository = path.strip("/").removesuffix(".git")
    kind = next((name for name in STATUS_HOSTS if name in host), "gitea")
    return {"kind": kind, "address": f"https://{host}", "repository": repository}
