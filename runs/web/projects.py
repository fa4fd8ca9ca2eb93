"""Projects: the list, a new one, the overview, and how to begin."""

from __future__ import annotations

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from runs.actions.errors import InvalidValueError, TakenError
from runs.actions.projects import create_project
from runs.actions.tokens import create_token
from runs.models import Project, Run
from runs.queries.home import project_rows
from runs.queries.jump import jump_targets
from runs.queries.overview import PERIODS, OverviewFilter, overview, recent_runs
from runs.queries.project_settings import without_credentials
from runs.queries.samples import SampleProgress, sample_progress
from runs.vocabulary import Role, Scope, Visibility
from runs.web.access import person, project_for, signed_in, visible_projects
from runs.web.once import keep_for_once, taken_once
from runs.web.pages import project_page


class ProjectForm(forms.Form):
    """What a project needs at first."""

    slug = forms.CharField(max_length=60)
    name = forms.CharField(max_length=120, required=False)
    repository_url = forms.CharField(max_length=1000, required=False)
    default_branch = forms.CharField(max_length=250, initial="main")
    public = forms.BooleanField(required=False)


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The projects that the caller may see; someone who sees none is led on."""
    rows = project_rows(visible_projects(request))
    if not rows:
        return redirect("project-new" if person(request) else "sign-in")
    return render(request, "projects/home.html", {"rows": rows})


@login_required
@require_http_methods(["GET", "POST"])
def project_new(request: HttpRequest) -> HttpResponse:
    """Make a project; its maker administers it."""
    user = signed_in(request)
    form = ProjectForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            project = create_project(
                slug=values["slug"],
                name=values["name"],
                repository_url=values["repository_url"],
                default_branch=values["default_branch"],
                visibility=Visibility.PUBLIC if values["public"] else Visibility.PRIVATE,
                by=user,
            )
        except InvalidValueError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        except TakenError as error:
            form.add_error("slug", str(error))
        else:
            return redirect("start", project.slug)
    return render(request, "projects/new.html", {"form": form})


@require_GET
def project_overview(request: HttpRequest, slug: str) -> HttpResponse:
    """Is the branch healthy, and since when; a project without runs is shown how to begin."""
    access = project_for(request, slug)
    wanted = OverviewFilter.from_query(request.GET, access.project.default_branch)
    facts = overview(access.project, wanted, now=timezone.now())
    if not facts.recent:
        return redirect("start", slug)
    return project_page(
        request,
        "projects/overview.html",
        access,
        nav="overview",
        overview=facts,
        wanted=wanted,
        periods=PERIODS,
    )


@require_GET
def overview_runs(request: HttpRequest, slug: str) -> HttpResponse:
    """The overview's newest runs alone, which it asks for again while it is open."""
    access = project_for(request, slug)
    context = {"project": access.project, "runs": recent_runs(access.project)}
    return render(request, "components/_recent_runs.html", context)


@never_cache
@require_GET
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """How to send the first report or run the first suite."""
    access = project_for(request, slug)
    return _start_page(request, access.project.slug)


@never_cache
@require_POST
def start_token(request: HttpRequest, slug: str) -> HttpResponse:
    """Make an upload token; the page that this leads to shows it, once."""
    access = project_for(request, slug, needs=Role.ADMIN)
    made = create_token(
        project=access.project, scopes=[Scope.UPLOAD], name="Made on the first page", by=person(request)
    )
    keep_for_once(request, "start", access.project.pk, secret=made.secret)
    return redirect("start", slug)


def _start_page(request: HttpRequest, slug: str) -> HttpResponse:
    access = project_for(request, slug)
    newest, sample = _newest_number(access.project), _sample_of(access.project)
    return project_page(
        request,
        "projects/start.html",
        access,
        nav="start",
        secret=taken_once(request, "start", access.project.pk).get("secret", ""),
        newest=newest,
        sample=sample,
        may_load_samples=access.may_manage and not newest and not access.project.is_sample,
        repository_shown=without_credentials(access.project.repository_url),
        upload_url=request.build_absolute_uri(f"/api/v1/projects/{slug}/uploads"),
        server_url=request.build_absolute_uri("/").rstrip("/"),
    )


@never_cache
@require_GET
def start_waiting(request: HttpRequest, slug: str) -> HttpResponse:
    """Asked every two seconds by the first page: moves it on once a run newer than `after` is there, or all
    of the sample data."""
    project = project_for(request, slug).project
    known = request.GET.get("after", "")
    after = int(known) if known.isascii() and known.isdigit() and len(known) < 10 else 0  # noqa: PLR2004 - more digits than run numbers
    newest, sample = _newest_number(project), _sample_of(project)
    is_loading = project.is_sample and not sample.is_complete
    if newest <= after or is_loading:
        context = {"project": project, "newest": after, "sample": sample}
        return render(request, "projects/_waiting.html", context)
    response = HttpResponse()
    has_samples = project.is_sample and not after
    target = reverse("overview", args=[slug]) if has_samples else reverse("run", args=[slug, newest])
    response["HX-Redirect"] = target
    return response


def _newest_number(project: Project) -> int:
    return Run.objects.for_project(project).newest_first().values_list("number", flat=True).first() or 0


def _sample_of(project: Project) -> SampleProgress:
    return sample_progress(project) if project.is_sample else SampleProgress()


@require_GET
def jump(request: HttpRequest, slug: str) -> HttpResponse:
    """Runs, tests and suites that match a few letters; a list for the jump box, or a page."""
    access = project_for(request, slug)
    q = request.GET.get("q", "")
    targets = jump_targets(access.project, q)
    if request.headers.get("HX-Request"):
        context = {"project": access.project, "targets": targets, "q": q}
        return render(request, "components/_jump_results.html", context)
    return project_page(request, "projects/jump.html", access, nav="", targets=targets, q=q)
