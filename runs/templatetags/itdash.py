"""What templates say often: icons, statuses, marks, times, durations and strangers' text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from runs import charts, figures
from runs.analytics.comparison import Change
from runs.analytics.fingerprints import shown_line
from runs.models import Failure, TestCase
from runs.queries import text
from runs.queries.compare_words import title_of
from runs.queries.durations import DurationTrend
from runs.queries.environments import Standing
from runs.queries.marks import Mark, result_mark, run_mark
from runs.vocabulary import DeliveryStatus, Outcome, RunStatus, Trigger

register = template.Library()

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

RUN_WORDS = {
    RunStatus.QUEUED: ("queued", "queued", "Queued"),
    RunStatus.PREPARING: ("run", "running", "Preparing"),
    RunStatus.RUNNING: ("run", "running", "Running"),
    RunStatus.INGESTING: ("run", "running", "Ingesting"),
    RunStatus.PASSED: ("pass", "pass", "Passed"),
    RunStatus.FAILED: ("fail", "fail", "Failed"),
    RunStatus.ERRORED: ("infra", "infra", "Errored"),
    RunStatus.CANCELLED: ("cancel", "cancel", "Cancelled"),
    RunStatus.TIMED_OUT: ("fail", "clock", "Timed out"),
}
OUTCOME_WORDS = {
    Outcome.PASSED: ("pass", "pass", "Passed"),
    Outcome.FAILED: ("fail", "fail", "Failed"),
    Outcome.ERRORED: ("fail", "fail", "Errored"),
    Outcome.SKIPPED: ("skip", "skip", "Skipped"),
    Outcome.FLAKY: ("flaky", "flaky", "Flaky"),
}


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of the sprite; decoration, so the text beside it must say the same."""
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        f" {css}" if css else "",
        static("itdash/icons.svg"),
        name,
    )


@register.simple_tag
def run_status(status: str, flaky_count: int = 0, *, only: bool = False) -> SafeString:
    """A run's status: word, shape and colour. One that passed only after retries is flaky."""
    is_flaky = run_mark(status, flaky_count) is Mark.FLAKY
    return shown_status(OUTCOME_WORDS[Outcome.FLAKY] if is_flaky else RUN_WORDS[RunStatus(status)], only=only)


@register.simple_tag
def outcome(value: str, *, only: bool = False) -> SafeString:
    """The outcome of a result or attempt: word, shape and colour."""
    return shown_status(OUTCOME_WORDS[Outcome(value)], only=only)


DELIVERY_WORDS = {
    DeliveryStatus.RECEIVED: ("run", "running", "Received"),
    DeliveryStatus.ACCEPTED: ("pass", "pass", "Accepted"),
    DeliveryStatus.IGNORED: ("skip", "skip", "Ignored"),
    DeliveryStatus.REFUSED: ("fail", "fail", "Refused"),
    DeliveryStatus.WAITING: ("queued", "queued", "Waiting"),
    DeliveryStatus.QUEUED: ("queued", "queued", "Queued"),
    DeliveryStatus.SENT: ("pass", "pass", "Sent"),
    DeliveryStatus.FAILED: ("infra", "infra", "Failed"),
}


@register.simple_tag
def delivery_status(value: str, *, only: bool = False) -> SafeString:
    """What became of a webhook: word, shape and colour."""
    return shown_status(DELIVERY_WORDS[DeliveryStatus(value)], only=only)


ENVIRONMENT_WORDS = {
    Standing.COMING: ("run", "running", "Coming up"),
    Standing.UP: ("pass", "pass", "Up"),
    Standing.HELD: ("flaky", "clock", "Held for a look"),
    Standing.GOING: ("run", "running", "Being removed"),
    Standing.ABANDONED: ("infra", "infra", "Left behind"),
    Standing.FAILED: ("infra", "infra", "Failed"),
    Standing.GONE: ("skip", "cancel", "Removed"),
}
HEALTH_WORDS = {
    "healthy": ("pass", "pass", "Healthy"),
    "running": ("pass", "pass", "Up, no check"),
    "completed": ("pass", "pass", "Completed"),
    "starting": ("run", "running", "Starting"),
    "waiting": ("queued", "queued", "Waiting"),
    "tests": ("run", "running", "Running the tests"),
    "ended": ("skip", "cancel", "Ended"),
    "fault": ("flaky", "bolt", "Disturbed on purpose"),
    "unhealthy": ("fail", "fail", "Unhealthy"),
    "died": ("fail", "fail", "Down"),
    "out_of_memory": ("fail", "fail", "Out of memory"),
    "never_ready": ("infra", "infra", "Never ready"),
}


@register.simple_tag
def environment_status(value: str) -> SafeString:
    """How an environment stands: word, shape and colour."""
    return shown_status(ENVIRONMENT_WORDS[Standing(value)])


@register.simple_tag
def service_health(value: str) -> SafeString:
    """How a service of an environment is: word, shape and colour."""
    return shown_status(HEALTH_WORDS[value])


def shown_status(words: tuple[str, str, str], *, only: bool = False) -> SafeString:
    """The component; `only`: the shape alone, for those who see."""
    return _status(*words, only=only, sprite=static("itdash/icons.svg"))


@cache
def _status(code: str, glyph: str, word: str, *, only: bool, sprite: str) -> SafeString:
    """Once for each of the few words there are: a page may say a thousand of them."""
    said = {"code": code, "glyph": glyph, "word": word, "only": only, "sprite": sprite}
    return render_to_string("components/_status.html", said)


TRIGGER_ICONS = {
    Trigger.PUSH: "hook",
    Trigger.PULL_REQUEST: "branch",
    Trigger.SCHEDULE: "clock",
    Trigger.API: "logs",
    Trigger.PERSON: "user",
    Trigger.UPLOAD: "upload",
    Trigger.DEMO: "help",
}


@register.simple_tag
def trigger_icon(trigger: str) -> SafeString:
    """The icon of a trigger; its word stands beside it."""
    return icon(TRIGGER_ICONS[Trigger(trigger)])


TRIGGER_WORDS = {
    Trigger.PUSH: "Push",
    Trigger.PULL_REQUEST: "Pull request",
    Trigger.SCHEDULE: "Schedule",
    Trigger.API: "API",
    Trigger.PERSON: "By hand",
    Trigger.UPLOAD: "Upload",
    Trigger.DEMO: "Demo",
}


@register.filter
def trigger_word(trigger: str) -> str:
    """A trigger as people read it."""
    return TRIGGER_WORDS[Trigger(trigger)]


@register.filter
def word(value: str) -> str:
    """A word of the vocabulary as people read it: `timed_out` is "Timed out"."""
    return str(value).replace("_", " ").capitalize()


@register.filter
def mark_of(value: str) -> str:
    """The strip letter of an outcome."""
    return result_mark(value)


@register.simple_tag
def strip(
    marks: str, width: int = 6, gap: int = 2, height: int = 16, label: str = "", *, fluid: bool = False
) -> SafeString:
    """Draw results side by side; see `charts.strip`."""
    return charts.strip(marks, width=width, gap=gap, height=height, label=label, fluid=fluid)


@register.simple_tag
def scrub(marks: str, ident: str, label: str) -> SafeString:
    """Draw a strip to walk with the arrow keys; see `charts.scrub`."""
    return charts.scrub(marks, ident=ident, label=label)


@register.simple_tag
def bar(
    parts: Sequence[tuple[str, float]],
    width: int = 96,
    height: int = 8,
    total: float = 0,
    label: str = "",
    *,
    fluid: bool = False,
) -> SafeString:
    """Draw proportions; see `charts.bar`."""
    return charts.bar(parts, width=width, height=height, total=total, label=label, fluid=fluid)


@register.simple_tag
def whisker(
    low: float, value: float, high: float, end: float, width: int = 96, height: int = 16, label: str = ""
) -> SafeString:
    """Draw an estimate with its interval, all as shares; see `charts.whisker`."""
    words = f"{label}{per_cent(value)}, between {per_cent(low)} and {per_cent(high)}"
    return charts.whisker(low, value, high, end=end, width=width, height=height, label=words)


@register.simple_tag
def shares(parts: Sequence[tuple[str, float]], label: str) -> SafeString:
    """Draw parts of a whole with their names; see `charts.shares`."""
    return charts.shares(parts, label=label)


@register.simple_tag
def run_axis(labels: Sequence[str], signs: Sequence[str]) -> SafeString:
    """Draw the head of a grid; see `charts.run_axis`."""
    return charts.run_axis(labels, signs)


@register.simple_tag
def shift(before: float, after: float, end: float) -> SafeString:
    """Draw a value before and after; see `charts.shift`."""
    return charts.shift(before, after, end=end)


@register.simple_tag
def columns(counts: Sequence[int], label: str) -> SafeString:
    """Draw failures per bucket; see `charts.columns`."""
    return charts.columns(counts, label=label)


@register.simple_tag
def swatch(kind: str, height: int = 10) -> SafeString:
    """A legend's sample of one class."""
    return charts.bar([(kind, 1)], width=12, height=height)


@register.simple_tag
def lane(segments: Sequence[charts.Segment], end: float, label: str, now: float | None = None) -> SafeString:
    """Draw one lane of a timeline; see `charts.gantt`."""
    return charts.gantt(segments, end=end, label=label, now=now)


@register.inclusion_tag("components/_duration_chart.html")
def duration_chart(trend: DurationTrend, ident: str) -> dict[str, Any]:
    """Draw durations over runs, for Plotly to take over; see `figures.duration_figure`. `ident` names it."""
    figure = figures.duration_figure(trend, duration)
    return {
        "trend": trend,
        "ident": ident,
        "drawing": figures.as_svg(figure),
        "data": figures.as_json(figure),
        "finding": figures.finding(trend, duration),
    }


@register.simple_tag
def spark(values: Sequence[float], *, is_bad: bool = False) -> SafeString:
    """Draw a direction; decoration beside a number. See `charts.spark`."""
    return charts.spark(values, is_bad=is_bad)


@register.filter
def readable(value: object, limit: int = text.TEXT_LIMIT) -> str:
    """Several lines of strangers' text, inert, cut with a note."""
    return text.readable(str(value), limit)


@register.filter
def whole(value: object) -> str:
    """Strangers' text with every line as long as it is, inert; only what no page can carry is cut."""
    return text.cut(text.clean(str(value)), text.WHOLE_LIMIT)


@register.filter
def one_line(value: object, limit: int = 300) -> str:
    """The first line of strangers' text, inert, cut."""
    return text.one_line(str(value), limit)


@register.filter
def shell(value: object) -> str:
    """Strangers' text as one word of a shell command."""
    return shlex.quote(text.one_line(str(value), 250))


@register.filter
def full_name(case: TestCase) -> str:
    """A test's name with its parameters, as its tool writes it."""
    return f"{case.name}{case.parameters}"


@register.filter
def place(case: TestCase) -> str:
    """Where a test lives: its file, else its class, else the suite names above it."""
    return case.file or case.class_name or case.path


@register.filter
def sha(commit: str) -> str:
    """A commit as people write it."""
    return commit[:8]


@register.filter
def duration(milliseconds: float | None) -> str:
    """A length of time: `340 ms`, `4.5 s`, `11m 42s`, `2h 05m`; an en dash when not known."""
    if milliseconds is None:
        return "–"  # noqa: RUF001 - a dash in a table's empty cell
    if milliseconds < SECOND:
        return f"{milliseconds:.0f} ms"
    if milliseconds < MINUTE:
        tenths = min(round(milliseconds / 100), 599) / 10
        return f"{tenths:.1f} s"
    seconds = round(milliseconds / SECOND)
    if milliseconds < HOUR:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    minutes = round(milliseconds / MINUTE)
    return f"{minutes // 60}h {minutes % 60:02d}m"


@register.filter
def hexadecimal(value: bytes | memoryview) -> str:
    """Bytes as addresses name them."""
    return bytes(value).hex()


@register.filter
def change_of_time(milliseconds: float) -> str:
    """A difference of two durations, with its sign: `+2.3 s`, `−51 ms`."""  # noqa: RUF002 - a minus sign
    sign = "+" if milliseconds > 0 else "−" if milliseconds < 0 else ""  # noqa: RUF001 - a minus sign
    return f"{sign}{duration(abs(milliseconds))}"


@register.filter
def change_word(change: str) -> str:
    """A category of a comparison as people call it."""
    return title_of(Change(change))


@register.filter
def failure_line(failure: Failure | None, limit: int = 240) -> str:
    """The line that a failure's group is known by; what differs by chance stands in guillemets."""
    if failure is None:
        return "Failed without a message"
    line = shown_line(*(text.clean(part[:8_000]) for part in (failure.kind, failure.message, failure.text)))
    return text.cut(line, limit) or "Failed without a message"


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """A moment, relative under a day, absolute otherwise; the whole stamp in the title."""
    if moment is None:
        return ""
    return _time(moment, relative(moment, timezone.now()))


@register.filter
def stamp(moment: datetime | None) -> SafeString | str:
    """A moment to the second, with its year when that is another."""
    if moment is None:
        return ""
    form = "%-d %b %H:%M:%S" if moment.year == timezone.now().year else "%-d %b %Y, %H:%M:%S"
    return _time(moment, moment.astimezone(UTC).strftime(form))


@register.filter
def clock(moment: datetime | None) -> SafeString | str:
    """A moment of the day, to the millisecond."""
    return "" if moment is None else _time(moment, f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3])


@register.filter
def clock_second(moment: datetime | None) -> SafeString | str:
    """A moment of the day, to the second."""
    return "" if moment is None else _time(moment, f"{moment.astimezone(UTC):%H:%M:%S}")


@register.filter
def digest(value: str) -> str:
    """The first letters of an image's digest; nothing where an engine has no images."""
    return value.rpartition("sha256:")[2][:12] if "sha256:" in value else ""


@register.filter
def in_zone(moment: datetime, zone: str) -> SafeString:
    """A moment to the minute as clocks in a time zone show it."""
    return _time(moment, f"{moment.astimezone(ZoneInfo(zone)):%a %-d %b %Y, %H:%M}")


@register.simple_tag
def elapsed(since: datetime) -> SafeString:
    """The time since a moment; a script lets it tick."""
    milliseconds = (timezone.now() - since).total_seconds() * SECOND
    return format_html(
        '<span data-controller="elapsed" data-since="{}">{}</span>',
        since.isoformat(),
        duration(max(milliseconds, 0) // SECOND * SECOND).replace(".0 s", " s"),
    )


def _time(moment: datetime, words: str) -> SafeString:
    title = f"{moment.astimezone(UTC):%a %-d %b %Y, %H:%M:%S} UTC"
    return mark_safe(f'<time datetime="{moment.isoformat()}" title="{title}">{words}</time>')  # noqa: S308 - of moments alone


def relative(moment: datetime, now: datetime) -> str:
    """A moment as seen from `now`."""
    seconds = (now - moment).total_seconds()
    if seconds < -60 or seconds >= DAY / SECOND:  # noqa: PLR2004 - a minute of clocks that differ
        form = "%-d %b, %H:%M" if moment.year == now.year else "%-d %b %Y"
        return moment.astimezone(UTC).strftime(form)
    if seconds < 10:  # noqa: PLR2004 - nobody counts them
        return "just now"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s ago"
    if seconds < 3600:  # noqa: PLR2004 - an hour
        return f"{seconds // 60:.0f} min ago"
    return f"{seconds // 3600:.0f} h ago"


@register.filter
def grouped(count: int) -> str:
    """A count as people read it: `52,345`."""
    return f"{count:,}"


@register.filter
def size(count: int | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:  # noqa: PLR2004 - SI prefixes
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


@register.filter
def seconds(value: float | None) -> str:
    """Seconds without needless digits: `0.5`, `20`."""
    return "" if value is None else f"{value:.1f}".removesuffix(".0")


@register.filter
def is_web_address(url: str) -> bool:
    """Whether a link from outside may be followed: no other scheme than http and https."""
    return url.startswith(("https://", "http://"))


@register.filter
def rest(value: str) -> str:
    """All lines but the first, inert."""
    return text.readable(value.strip().partition("\n")[2])


@register.filter
def initials(name: str) -> str:
    """Up to two letters for an avatar."""
    words = name.split() or [name]
    return "".join(word[:1] for word in words[:2]).upper()


@register.filter
def per_cent(share: float | None) -> str:
    """A share as per cent with one decimal; an en dash when nothing was counted."""
    if share is None:
        return "–"  # noqa: RUF001 - a dash in a table's empty cell
    return f"{share * 100:.1f}%"


@register.filter
def whole_per_cent(share: float) -> str:
    """A share as per cent without decimals, for sentences and scales."""
    return f"{share:.0%}"
