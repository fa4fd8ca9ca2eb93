"""Webhooks: hooks made and removed, deliveries taken once, and what each of them starts."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from django.db import OperationalError, transaction
from django.db.models.functions import Now

from runs.actions.audit import note_change
from runs.actions.errors import ActionError, InvalidValueError, NotPossibleError
from runs.actions.runs import cancel_run, queue_run
from runs.dispatch import Work, after_commit
from runs.models import Delivery, Hook, Project, Run, Suite, User
from runs.providers import (
    PROVIDERS,
    Event,
    OtherEvent,
    PayloadError,
    PingEvent,
    PullRequestAction,
    PullRequestEvent,
    PushEvent,
)
from runs.suitefile import Branches, objection, trigger_of
from runs.vocabulary import DeliveryStatus, Trigger

logger = logging.getLogger(__name__)

#: Refused deliveries kept of a hook, the newest: whoever knows an address may send what they like.
REFUSED_KEPT: Final = 20
#: Sentences of a delivery's reason.
_SENTENCES_KEPT: Final = 40
_HANDLED_AGAIN: Final = (DeliveryStatus.ACCEPTED, DeliveryStatus.IGNORED, DeliveryStatus.FAILED)


def create_hook(*, project: Project, provider: str, by: User | None = None) -> Hook:
    """Make an address for a Git host, with a secret of its own.

    Raises:
        InvalidValueError: nobody knows such a provider.
    """
    if provider not in PROVIDERS:
        raise InvalidValueError("provider", f"A hook is for one of {', '.join(PROVIDERS)}.")
    # GitLab takes a signing token in this form only; as a plain token it does, too.
    is_gitlab = provider == "gitlab"
    secret = (
        "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        if is_gitlab
        else secrets.token_urlsafe(32)
    )
    with transaction.atomic():
        hook = Hook.objects.create(
            project=project, provider=provider, key=secrets.token_urlsafe(24), secret=secret, created_by=by
        )
        note_change(project, by=by, action="webhook.made", subject=provider)
    return hook


def remove_hook(*, hook_id: int, by: User | None = None) -> bool:
    """Close a hook's address; its deliveries stay. False when it was closed already."""
    with transaction.atomic():
        is_closed = Hook.objects.filter(pk=hook_id, is_active=True).update(is_active=False) == 1
        if is_closed:
            hook = Hook.objects.select_related("project").get(pk=hook_id)
            note_change(hook.project, by=by, action="webhook.closed", subject=hook.provider)
    return is_closed


def receive_delivery(*, hook: Hook, key: str, event: str, payload: Mapping[str, Any]) -> Delivery:
    """Take a delivery whose signature was right; the same key again is the same delivery, taken once."""
    with transaction.atomic():
        delivery, is_new = Delivery.objects.get_or_create(
            project_id=hook.project_id,
            direction="received",
            provider=hook.provider,
            key=key,
            defaults={"hook": hook, "event": event, "payload": payload, "status": DeliveryStatus.RECEIVED},
        )
        if is_new:
            after_commit(Work.HANDLE_DELIVERY, delivery.pk)
    return delivery


def refuse_delivery(*, hook: Hook, event: str, reason: str) -> None:
    """Note that a delivery was refused, without a word of what it held; the newest few are kept."""
    own = Delivery.objects.filter(hook=hook, status=DeliveryStatus.REFUSED)
    with transaction.atomic():
        Delivery.objects.create(
            project_id=hook.project_id,
            hook=hook,
            direction="received",
            provider=hook.provider,
            key=f"refused:{uuid4()}",
            event=event,
            status=DeliveryStatus.REFUSED,
            reason=reason,
            handled_at=Now(),
        )
        kept = list(own.order_by("-pk").values_list("pk", flat=True)[:REFUSED_KEPT])
        own.filter(pk__lt=kept[-1]).delete()


def handle_delivery(delivery_id: int) -> None:
    """Queue the runs that a delivery asks for and say why; nothing when that is done already.

    What a fault of ours keeps from being handled is marked failed: the sweeper would ring for it for ever.
    A database that is away heals, and is rung for again.
    """
    try:
        with transaction.atomic():
            delivery = _locked(delivery_id)
            if delivery is not None and delivery.status == DeliveryStatus.RECEIVED:
                _settle(delivery)
    except OperationalError:
        raise
    except Exception:
        logger.exception("Delivery %s could not be handled.", delivery_id)
        Delivery.objects.filter(pk=delivery_id, status=DeliveryStatus.RECEIVED).update(
            status=DeliveryStatus.FAILED,
            reason="itdash failed while handling this; the worker's log says why. Redeliver it once mended.",
            handled_at=Now(),
        )


def approve_delivery(*, delivery_id: int, by: User) -> Delivery:
    """Let a fork's pull request run.

    Raises:
        NotPossibleError: it does not wait for that.
    """
    with transaction.atomic():
        delivery = _locked(delivery_id)
        if delivery is None or delivery.status != DeliveryStatus.WAITING:
            raise NotPossibleError("This delivery does not wait for an approval.")
        delivery.approved_by = by
        delivery.reason = f"Approved by {by}."
        _note(delivery, "delivery.approved", by)
        _settle(delivery)
    return delivery


def redeliver(*, delivery_id: int, by: User) -> None:
    """Handle a delivery once more. What it queued before stays; nothing is queued a second time.

    Raises:
        NotPossibleError: it was refused, waits, or was not received.
    """
    with transaction.atomic():
        delivery = _locked(delivery_id)
        if delivery is None or delivery.status not in _HANDLED_AGAIN:
            raise NotPossibleError("Only a delivery that was accepted, ignored or failed is handled again.")
        delivery.status = DeliveryStatus.RECEIVED
        delivery.reason = f"Handled again for {by}."
        delivery.save(update_fields=["status", "reason"])
        _note(delivery, "delivery.handled_again", by)
        after_commit(Work.HANDLE_DELIVERY, delivery.pk)


def look_again(*, run: Run, why: str) -> None:
    """Handle the deliveries that started the run once more; nothing is queued a second time."""
    own = Delivery.objects.select_for_update(no_key=True).filter(
        runs=run, direction="received", status=DeliveryStatus.ACCEPTED
    )
    for delivery in own.order_by("pk"):
        delivery.status = DeliveryStatus.RECEIVED
        delivery.reason = why
        delivery.save(update_fields=["status", "reason"])
        after_commit(Work.HANDLE_DELIVERY, delivery.pk)


def _note(delivery: Delivery, action: str, by: User) -> None:
    subject = f"{delivery.provider} {delivery.event}"
    note_change(delivery.project, by=by, action=action, subject=subject, data={"delivery": delivery.pk})


def _locked(delivery_id: int) -> Delivery | None:
    return (
        Delivery.objects.select_for_update(no_key=True, of=("self",))
        .select_related("project", "hook", "approved_by")
        .filter(pk=delivery_id, direction="received")
        .first()
    )


@dataclass(slots=True)
class _Outcome:
    """What comes of a delivery while its events are looked at."""

    runs: list[Run] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    #: Told last: why other suites are not meant.
    asides: list[str] = field(default_factory=list)
    status: DeliveryStatus = DeliveryStatus.IGNORED

    def say(self, sentence: str, status: DeliveryStatus = DeliveryStatus.IGNORED) -> None:
        """Add a sentence; the gravest status stays."""
        self.sentences.append(sentence)
        self.status = max(self.status, status, key=_GRAVITY.index)


_GRAVITY: Final = (
    DeliveryStatus.IGNORED,
    DeliveryStatus.ACCEPTED,
    DeliveryStatus.WAITING,
    DeliveryStatus.FAILED,
)


def _settle(delivery: Delivery) -> None:
    outcome = _Outcome(sentences=[delivery.reason] if delivery.reason else [])
    try:
        events = PROVIDERS[delivery.provider].parse(delivery.event, delivery.payload)
        for at, event in enumerate(events):
            _answer(delivery, at, event, outcome)
        if not events:
            outcome.say("It tells of no change.")
    except (PayloadError, ActionError) as error:
        outcome.say(str(error), DeliveryStatus.FAILED)
    delivery.runs.add(*outcome.runs)
    Delivery.objects.filter(pk=delivery.pk).update(
        status=outcome.status,
        reason="\n".join([*outcome.sentences, *outcome.asides][:_SENTENCES_KEPT]),
        approved_by=delivery.approved_by,
        handled_at=Now(),
    )
    delivery.refresh_from_db()


def _answer(delivery: Delivery, at: int, event: Event, outcome: _Outcome) -> None:
    match event:
        case PingEvent():
            outcome.say("The connection works.", DeliveryStatus.ACCEPTED)
        case OtherEvent(name=name):
            outcome.say(f"“{name or 'no name'}” is no event that starts a suite.")
        case PushEvent():
            _answer_push(delivery, at, event, outcome)
        case PullRequestEvent():
            _answer_pull_request(delivery, at, event, outcome)


def _answer_push(delivery: Delivery, at: int, event: PushEvent, outcome: _Outcome) -> None:
    if event.tag:
        outcome.say(f"Tag {event.tag}: suites start by pushes to branches.")
        return
    if event.is_deleted:
        outcome.say(f"The branch {event.branch} was deleted.")
        return
    meant = list(
        _meant(delivery.project, "push", event.branch, event.changed_paths, outcome, what="pushes to")
    )
    wanted = _Wanted(trigger=Trigger.PUSH, branch=event.branch, ref=event.branch, commit=event.commit, at=at)
    for suite, filters in meant:
        _start(delivery, suite, wanted, outcome, is_superseding=filters.cancel_superseded)


def _answer_pull_request(delivery: Delivery, at: int, event: PullRequestEvent, outcome: _Outcome) -> None:
    named = f"Pull request {event.number}"
    _let_go_of_older(delivery, event)
    if event.action is not PullRequestAction.CHANGED:
        has = "was closed" if event.action is PullRequestAction.CLOSED else "has no new commits"
        outcome.say(f"{named} {has}.")
        return
    meant = list(
        _meant(
            delivery.project,
            "pull_request",
            event.target_branch,
            event.changed_paths,
            outcome,
            what="pull requests to",
        )
    )
    if meant and not event.ref:
        outcome.say(f"{named} comes from a fork, and its commits are only there: they cannot be run here.")
        return
    if meant and event.is_fork and delivery.approved_by is None:
        names = ", ".join(suite.name for suite, _ in meant)
        sentence = (
            f"{named} comes from a fork: a member has to approve it. It would run {names} "
            f"on {event.commit[:10]} by {event.author or 'somebody'}."
        )
        outcome.say(sentence, DeliveryStatus.WAITING)
        return
    wanted = _Wanted(
        trigger=Trigger.PULL_REQUEST,
        # A fork's main is not ours: its results must not count for our branch.
        branch=f"{event.author or 'fork'}:{event.source_branch}"[:250]
        if event.is_fork
        else event.source_branch,
        ref=event.ref,
        commit=event.commit,
        pull_request=str(event.number),
        at=at,
    )
    for suite, filters in meant:
        _start(delivery, suite, wanted, outcome, is_superseding=filters.cancel_superseded)


def _let_go_of_older(delivery: Delivery, event: PullRequestEvent) -> None:
    """Nobody should approve a commit that the pull request has left behind, or one that was closed."""
    if event.action is PullRequestAction.OTHER:
        return
    older = Delivery.objects.select_for_update(no_key=True).filter(
        hook=delivery.hook_id, status=DeliveryStatus.WAITING, pk__lt=delivery.pk
    )
    parse = PROVIDERS[delivery.provider].parse
    outlived = [
        waiting.pk
        for waiting in older.order_by("pk")
        if any(
            isinstance(one, PullRequestEvent) and one.number == event.number
            for one in parse(waiting.event, waiting.payload)
        )
    ]
    has = "was closed" if event.action is PullRequestAction.CLOSED else "got newer commits"
    Delivery.objects.filter(pk__in=outlived).update(
        status=DeliveryStatus.IGNORED, reason=f"Pull request {event.number} {has} before this was approved."
    )


def _meant(
    project: Project,
    trigger: str,
    branch: str,
    paths: Sequence[str] | None,
    outcome: _Outcome,
    *,
    what: str,
) -> Iterator[tuple[Suite, Branches]]:
    """The suites that start by it; why not is told of each other one."""
    refusals: list[str] = []
    is_any = False
    for suite in Suite.objects.filter(project=project).order_by("name"):
        filters = trigger_of(suite.definition, trigger)
        if not suite.definition:
            refusals.append(f"{suite.name}: its suite file has not been read yet; run the suite once.")
        elif filters is None:
            refusals.append(f"{suite.name}: its suite file has no on.{trigger}.")
        elif complaint := objection(filters, branch=branch, paths=paths):
            refusals.append(f"{suite.name}: {complaint}.")
        else:
            is_any = True
            yield suite, filters
    if not is_any:
        outcome.say(f"No suite runs on {what} {branch}{' with these changes' if paths else ''}.")
    outcome.asides.extend(refusals)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A run that an event asks for, of whichever suite."""

    trigger: Trigger
    branch: str
    ref: str
    commit: str
    #: The event's place in its delivery.
    at: int
    pull_request: str = ""


def _start(
    delivery: Delivery, suite: Suite, wanted: _Wanted, outcome: _Outcome, *, is_superseding: bool
) -> None:
    key = f"webhook:{_digest(delivery)}:{wanted.at}:{suite.pk}"
    known = _known_run(suite, wanted, key)
    if known is not None:
        outcome.runs.append(known)
        outcome.say(f"{suite.name}: queued before, as run #{known.number}.", DeliveryStatus.ACCEPTED)
        return
    run = queue_run(
        project=delivery.project,
        suite=suite.name,
        trigger=wanted.trigger,
        ref=wanted.ref,
        commit=wanted.commit,
        branch=wanted.branch,
        pull_request=wanted.pull_request,
        by=delivery.approved_by,
        idempotency_key=key,
    )
    outcome.runs.append(run)
    outcome.say(f"{suite.name}: queued as run #{run.number}.", DeliveryStatus.ACCEPTED)
    if is_superseding:
        for number in _supersede(delivery, run):
            outcome.say(f"{suite.name}: cancelled run #{number}, which run #{run.number} supersedes.")


def _known_run(suite: Suite, wanted: _Wanted, key: str) -> Run | None:
    """The run of the same delivery, or of the same commit in the same pull request.

    Hosts tell of a pull request again when its title changes.
    """
    runs = Run.objects.filter(suite=suite).order_by("pk")
    known = runs.filter(idempotency_key=key).first()
    if known is None and wanted.pull_request:
        known = runs.filter(
            trigger=Trigger.PULL_REQUEST,
            pull_request=wanted.pull_request,
            commit__startswith=wanted.commit,
        ).first()
    return known


def _supersede(delivery: Delivery, run: Run) -> list[int]:
    """Cancel what earlier deliveries started on the branch; return the runs' numbers.

    Deliveries and not runs are compared: one that comes late, or again, ends nothing newer. What a person
    or a schedule started stays.
    """
    older = (
        Run.objects.unfinished()
        .filter(suite=run.suite, branch=run.branch, trigger=run.trigger, deliveries__pk__lt=delivery.pk)
        .exclude(pk=run.pk)
        .exclude(deliveries__pk__gt=delivery.pk)
        .distinct()
        .order_by("pk")
    )
    cancelled = []
    for found in older:
        try:
            cancel_run(run_id=found.pk, by=None, why=f"Superseded by run #{run.number}.")
        except NotPossibleError:
            continue  # finished meanwhile
        cancelled.append(found.number)
    return cancelled


def _digest(delivery: Delivery) -> str:
    """What makes the delivery the same as another.

    Where its id is not signed, what it says: a body that was listened to, sent again under another id,
    starts nothing.
    """
    said = json.dumps(delivery.payload, sort_keys=True)
    proof = delivery.key if PROVIDERS[delivery.provider].is_id_signed else ""
    text = f"{delivery.hook_id}\n{delivery.event}\n{proof}\n{said}"
    return hashlib.sha256(text.encode()).hexdigest()[:40]
