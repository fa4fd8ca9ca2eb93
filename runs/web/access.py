"""Who may see or do what on pages: one function per noun; every view begins with one of them.

Unknown and forbidden look alike from outside (404). Someone who may see a thing but not change it is told
so (403). Anyone may read a public project.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest

from environments.models import Environment
from runs.models import (
    Delivery,
    Membership,
    Project,
    Rename,
    Run,
    Schedule,
    Service,
    Suite,
    TestCase,
    Upload,
    User,
)
from runs.queries.environments import run_id_of
from runs.vocabulary import Role, Visibility

_ORDER = {Role.VIEWER: 1, Role.MEMBER: 2, Role.ADMIN: 3}


@dataclass(frozen=True, slots=True)
class Access:
    """A project and what the caller is in it."""

    project: Project
    role: Role

    @property
    def is_member(self) -> bool:
        """Not only someone who reads a public project."""
        return self.role == Role.ADMIN or getattr(self.project, "caller_role", None) is not None

    @property
    def may_act(self) -> bool:
        """Start, cancel and repeat runs."""
        return _ORDER[self.role] >= _ORDER[Role.MEMBER]

    @property
    def may_manage(self) -> bool:
        """Change the project."""
        return self.role == Role.ADMIN


@dataclass(frozen=True, slots=True)
class RunAccess(Access):
    """A run of the project."""

    run: Run


@dataclass(frozen=True, slots=True)
class EnvironmentAccess(RunAccess):
    """An environment of one of the project's runs."""

    environment: Environment


@dataclass(frozen=True, slots=True)
class CaseAccess(Access):
    """A test case of the project."""

    case: TestCase


@dataclass(frozen=True, slots=True)
class RenameAccess(Access):
    """A proposal of the project that two cases are one."""

    rename: Rename


@dataclass(frozen=True, slots=True)
class SuiteAccess(Access):
    """A suite of the project."""

    suite: Suite


@dataclass(frozen=True, slots=True)
class ServiceAccess(Access):
    """A service of the project."""

    service: Service


@dataclass(frozen=True, slots=True)
class DeliveryAccess(Access):
    """A webhook that the project received or sent."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class UploadAccess(Access):
    """An upload to one of the project's runs."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class ScheduleAccess(Access):
    """A schedule of one of the project's suites."""

    schedule: Schedule


def person(request: HttpRequest) -> User | None:
    """Who is signed in, or None."""
    return request.user if isinstance(request.user, User) else None


def signed_in(request: HttpRequest) -> User:
    """Who is signed in.

    Raises:
        PermissionDenied: nobody is. The views that need it stand behind `login_required`.
    """
    user = person(request)
    if user is None:
        raise PermissionDenied
    return user


def project_for(request: HttpRequest, slug: str, *, needs: Role = Role.VIEWER) -> Access:
    """The project of that address.

    Raises:
        Http404: there is none, or the caller may not see it.
        PermissionDenied: the caller may see it, and not this.
    """
    project = _projects(request).filter(slug=slug).first()
    if project is None:
        raise Http404
    return Access(project=project, role=_role(request, project, needs))


def members_project_for(request: HttpRequest, slug: str, *, needs: Role = Role.VIEWER) -> Access:
    """The project, for those who are in it: to everybody else even a public one has no such page.

    Raises:
        Http404: there is none, or the caller is no member.
        PermissionDenied: the caller is a member, and may not do this.
    """
    access = project_for(request, slug)
    if not access.is_member:
        raise Http404
    if _ORDER[access.role] < _ORDER[needs]:
        raise PermissionDenied
    return access


def run_for(request: HttpRequest, slug: str, number: int, *, needs: Role = Role.VIEWER) -> RunAccess:
    """The run of that number in the project; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    run = (
        Run.objects.select_related("suite", "requested_by", "rerun_of", "pinned_by", "verdict_base")
        .filter(project=access.project, number=number)
        .first()
    )
    if run is None:
        raise Http404
    run.project = access.project
    return RunAccess(project=access.project, role=access.role, run=run)


def environment_for(
    request: HttpRequest, slug: str, name: str, *, needs: Role = Role.VIEWER
) -> EnvironmentAccess:
    """The environment of that name, reached through its run; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    environment = Environment.objects.filter(instance=settings.INSTANCE, name=name).first()
    run_id = run_id_of(environment.owner) if environment else None
    if environment is None or run_id is None:
        raise Http404
    run = Run.objects.select_related("suite").filter(project=access.project, pk=run_id).first()
    if run is None:
        raise Http404
    run.project = access.project
    return EnvironmentAccess(project=access.project, role=access.role, run=run, environment=environment)


def case_for(request: HttpRequest, slug: str, case_id: int, *, needs: Role = Role.VIEWER) -> CaseAccess:
    """The test case with its state, by a former name's id too; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    cases = TestCase.objects.select_related("suite", "state", "same_as__suite", "same_as__state")
    case = cases.filter(suite__project=access.project, pk=case_id).first()
    if case is None:
        raise Http404
    return CaseAccess(project=access.project, role=access.role, case=case.same_as or case)


def rename_for(request: HttpRequest, slug: str, rename_id: int, *, needs: Role = Role.VIEWER) -> RenameAccess:
    """The proposal in the project; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    renames = Rename.objects.select_related("suite__project").filter(suite__project=access.project)
    rename = renames.filter(pk=rename_id).first()
    if rename is None:
        raise Http404
    return RenameAccess(project=access.project, role=access.role, rename=rename)


def suite_for(request: HttpRequest, slug: str, name: str, *, needs: Role = Role.VIEWER) -> SuiteAccess:
    """The suite of that name in the project; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    suite = Suite.objects.filter(project=access.project, name=name.replace("\x00", "")).first()
    if suite is None:
        raise Http404
    suite.project = access.project
    return SuiteAccess(project=access.project, role=access.role, suite=suite)


def service_for(request: HttpRequest, slug: str, name: str) -> ServiceAccess:
    """The service of that name in the project; refuses as `project_for` does."""
    access = project_for(request, slug)
    service = Service.objects.filter(project=access.project, name=name.replace("\x00", "")).first()
    if service is None:
        raise Http404
    return ServiceAccess(project=access.project, role=access.role, service=service)


def schedule_for(
    request: HttpRequest, slug: str, schedule_id: int, *, needs: Role = Role.VIEWER
) -> ScheduleAccess:
    """The schedule in the project; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    schedules = Schedule.objects.select_related("suite").filter(suite__project=access.project)
    schedule = schedules.filter(pk=schedule_id).first()
    if schedule is None:
        raise Http404
    return ScheduleAccess(project=access.project, role=access.role, schedule=schedule)


def delivery_for(
    request: HttpRequest, slug: str, delivery_id: int, *, needs: Role = Role.VIEWER
) -> DeliveryAccess:
    """The webhook in the project; refuses as `project_for` does."""
    access = project_for(request, slug, needs=needs)
    deliveries = Delivery.objects.select_related("approved_by").filter(project=access.project)
    delivery = deliveries.filter(pk=delivery_id).first()
    if delivery is None:
        raise Http404
    return DeliveryAccess(project=access.project, role=access.role, delivery=delivery)


def upload_for(request: HttpRequest, slug: str, upload_id: int) -> UploadAccess:
    """The upload in the project; refuses as `project_for` does."""
    access = project_for(request, slug)
    uploads = Upload.objects.select_related("run__suite").filter(project=access.project)
    upload = uploads.filter(pk=upload_id).first()
    if upload is None:
        raise Http404
    return UploadAccess(project=access.project, role=access.role, upload=upload)


def visible_projects(request: HttpRequest) -> QuerySet[Project]:
    """The projects that the caller may see, by name."""
    user = person(request)
    projects = Project.objects.order_by("name", "pk")
    if user is not None and user.is_superuser:
        return projects
    seen = Q(visibility=Visibility.PUBLIC)
    if user is not None:
        seen |= Q(Exists(Membership.objects.filter(project=OuterRef("pk"), user=user)))
    return projects.filter(seen)


def _projects(request: HttpRequest) -> QuerySet[Project]:
    """Projects with the caller's role beside them, so that access costs one query."""
    user = person(request)
    if user is None:
        return Project.objects.all()
    roles = Membership.objects.filter(project=OuterRef("pk"), user=user).values("role")
    return Project.objects.annotate(caller_role=Subquery(roles[:1]))


def _role(request: HttpRequest, project: Project, needs: Role) -> Role:
    user = person(request)
    if user is not None and user.is_superuser:
        return Role.ADMIN
    known = getattr(project, "caller_role", None)
    if known is None and project.visibility != Visibility.PUBLIC:
        raise Http404
    role = Role(known or Role.VIEWER)
    if _ORDER[role] < _ORDER[needs]:
        raise PermissionDenied
    return role
