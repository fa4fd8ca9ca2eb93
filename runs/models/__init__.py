"""Rows. Every rule the database can hold is a named constraint; every index serves a question."""

from runs.models.audit import AuditEntry
from runs.models.blames import Blame
from runs.models.channels import Channel
from runs.models.durations import CaseDuration
from runs.models.people import FailedSignIn, Invitation, Membership, User
from runs.models.projects import Project, Team, Token
from runs.models.quarantine import Quarantine
from runs.models.renames import Rename
from runs.models.results import Attempt, Failure, Result, ResultDetails, TestCase
from runs.models.rollups import CaseMonth, GroupRun, ServiceDay, SuiteDay
from runs.models.runs import Artifact, Event, LogChunk, Run, Shard
from runs.models.schedules import Schedule
from runs.models.suites import Service, Suite
from runs.models.uploads import Report, Upload
from runs.models.verdicts import CaseState
from runs.models.webhooks import Delivery, Hook

__all__ = [
    "Artifact",
    "Attempt",
    "AuditEntry",
    "Blame",
    "CaseDuration",
    "CaseMonth",
    "CaseState",
    "Channel",
    "Delivery",
    "Event",
    "FailedSignIn",
    "Failure",
    "GroupRun",
    "Hook",
    "Invitation",
    "LogChunk",
    "Membership",
    "Project",
    "Quarantine",
    "Rename",
    "Report",
    "Result",
    "ResultDetails",
    "Run",
    "Schedule",
    "Service",
    "ServiceDay",
    "Shard",
    "Suite",
    "SuiteDay",
    "Team",
    "TestCase",
    "Token",
    "Upload",
    "User",
]
