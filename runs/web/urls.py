"""The pages' addresses."""

from __future__ import annotations

from django.urls import path

from runs.web import accounts, cases, live, project_settings, projects, runs, samples, suites, webhooks

urlpatterns = [
    path("", projects.home, name="home"),
    path("sign-in/", accounts.sign_in, name="sign-in"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("first-account/", accounts.first_account, name="first-account"),
    path("theme/", accounts.theme, name="theme"),
    path("projects/new/", projects.project_new, name="project-new"),
    path("p/<slug:slug>/", projects.project_overview, name="overview"),
    path("p/<slug:slug>/recent/", projects.overview_runs, name="overview-runs"),
    path("p/<slug:slug>/start/", projects.start, name="start"),
    path("p/<slug:slug>/start/token/", projects.start_token, name="start-token"),
    path("p/<slug:slug>/start/waiting/", projects.start_waiting, name="start-waiting"),
    path("p/<slug:slug>/start/sample/", samples.sample_load, name="sample-load"),
    path("p/<slug:slug>/sample/remove/", samples.sample_remove, name="sample-remove"),
    path("p/<slug:slug>/jump/", projects.jump, name="jump"),
    path("p/<slug:slug>/settings/", project_settings.settings_page, name="settings"),
    path("p/<slug:slug>/settings/general/", project_settings.settings_change, name="settings-change"),
    path("p/<slug:slug>/settings/tokens/", project_settings.token_add, name="token-add"),
    path(
        "p/<slug:slug>/settings/tokens/<int:token_id>/revoke/",
        project_settings.token_revoke,
        name="token-revoke",
    ),
    path("p/<slug:slug>/settings/members/", project_settings.member_add, name="member-add"),
    path(
        "p/<slug:slug>/settings/members/<int:member_id>/role/",
        project_settings.member_role,
        name="member-role",
    ),
    path(
        "p/<slug:slug>/settings/members/<int:member_id>/remove/",
        project_settings.member_remove,
        name="member-remove",
    ),
    path("p/<slug:slug>/suites/", suites.suite_list, name="suites"),
    path("p/<slug:slug>/add-suite/", suites.suite_add, name="suite-add"),
    # A suite's name is whatever its reports say: the address ends with it.
    path("p/<slug:slug>/suites/<path:name>/", suites.suite, name="suite"),
    path("p/<slug:slug>/add-schedule/<path:name>/", suites.schedule_add, name="schedule-add"),
    path("p/<slug:slug>/schedules/<int:schedule_id>/", suites.schedule_change, name="schedule-change"),
    path("p/<slug:slug>/schedules/<int:schedule_id>/pause/", suites.schedule_pause, name="schedule-pause"),
    path("p/<slug:slug>/schedules/<int:schedule_id>/resume/", suites.schedule_resume, name="schedule-resume"),
    path("p/<slug:slug>/schedules/<int:schedule_id>/delete/", suites.schedule_delete, name="schedule-delete"),
    path("p/<slug:slug>/webhooks/", webhooks.webhook_list, name="webhooks"),
    path("p/<slug:slug>/webhooks/add/", webhooks.hook_add, name="hook-add"),
    path("p/<slug:slug>/webhooks/hooks/<int:hook_id>/remove/", webhooks.hook_remove, name="hook-remove"),
    path("p/<slug:slug>/webhooks/<int:delivery_id>/", webhooks.delivery, name="delivery"),
    path("p/<slug:slug>/webhooks/<int:delivery_id>/again/", webhooks.delivery_again, name="delivery-again"),
    path(
        "p/<slug:slug>/webhooks/<int:delivery_id>/approve/",
        webhooks.delivery_approve,
        name="delivery-approve",
    ),
    path("p/<slug:slug>/tests/", cases.case_list, name="tests"),
    path("p/<slug:slug>/tests/<int:case_id>/", cases.case, name="test"),
    path("p/<slug:slug>/tests/<int:case_id>/quarantine/", cases.case_quarantine, name="test-quarantine"),
    path("p/<slug:slug>/tests/<int:case_id>/lift/", cases.case_lift, name="test-lift"),
    path("p/<slug:slug>/runs/", runs.run_list, name="runs"),
    path("p/<slug:slug>/runs/new/", runs.run_new, name="run-new"),
    path("p/<slug:slug>/runs/<int:number>/", runs.run, name="run"),
    path("p/<slug:slug>/runs/<int:number>/live/", live.run_live, name="run-live"),
    path("p/<slug:slug>/runs/<int:number>/stream/", live.run_stream, name="run-stream"),
    path("p/<slug:slug>/runs/<int:number>/cancel/", runs.run_cancel, name="run-cancel"),
    path("p/<slug:slug>/runs/<int:number>/rerun/", runs.run_rerun, name="run-rerun"),
    path("p/<slug:slug>/runs/<int:number>/log/", runs.run_log, name="run-log"),
    path("p/<slug:slug>/runs/<int:number>/files/<slug:kind>/<int:file_id>/", runs.run_file, name="run-file"),
]
