"""What each CI says of its job, from variables as it sets them."""

from __future__ import annotations

import json

import pytest

from itdash.cli._ci import CiJob, ci_job

SHA = "a81f3c2d5e6f708192a3b4c5d6e7f8091a2b3c4d"
HEAD = "b" * 40


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        (
            {
                "GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_SHA": SHA, "GITHUB_REF": "refs/heads/main",
                "GITHUB_REF_NAME": "main", "GITHUB_HEAD_REF": "", "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "acme/shop", "GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "2",
            },
            CiJob(
                "GitHub Actions", SHA, "main", "", "https://github.com/acme/shop/actions/runs/77",
                "github-77", shard=1, attempt=2,
            ),
        ),
        (
            {
                "GITLAB_CI": "true", "CI_COMMIT_SHA": SHA, "CI_COMMIT_REF_NAME": "refs/merge-requests/5/head",
                "CI_MERGE_REQUEST_IID": "5", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix",
                "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD, "CI_JOB_URL": "https://gitlab.example/j/9",
                "CI_PIPELINE_ID": "31", "CI_NODE_INDEX": "3",
            },
            CiJob("GitLab CI", HEAD, "fix", "5", "https://gitlab.example/j/9", "gitlab-31", shard=3),
        ),
        (
            {
                "JENKINS_URL": "https://ci.example/", "GIT_COMMIT": SHA, "GIT_BRANCH": "origin/main",
                "BUILD_URL": "https://ci.example/job/shop/4/", "BUILD_TAG": "jenkins-shop-4",
            },
            CiJob("Jenkins", SHA, "main", "", "https://ci.example/job/shop/4/", "jenkins-shop-4"),
        ),
        (
            {
                "JENKINS_URL": "https://ci.example/", "GIT_COMMIT": SHA, "BRANCH_NAME": "PR-12",
                "CHANGE_BRANCH": "fix", "CHANGE_ID": "12", "BUILD_TAG": "t",
            },
            CiJob("Jenkins", SHA, "fix", "12", "", "t"),
        ),
        (
            {
                "CIRCLECI": "true", "CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "fix",
                "CIRCLE_PULL_REQUEST": "https://github.com/acme/shop/pull/8",
                "CIRCLE_BUILD_URL": "https://circleci.com/b/1", "CIRCLE_WORKFLOW_ID": "w-1",
                "CIRCLE_NODE_INDEX": "1",
            },
            CiJob("CircleCI", SHA, "fix", "8", "https://circleci.com/b/1", "circleci-w-1", shard=2),
        ),
        (
            {
                "BUILDKITE": "true", "BUILDKITE_COMMIT": SHA, "BUILDKITE_BRANCH": "main",
                "BUILDKITE_PULL_REQUEST": "false", "BUILDKITE_BUILD_URL": "https://buildkite.com/b",
                "BUILDKITE_BUILD_ID": "u", "BUILDKITE_PARALLEL_JOB": "0", "BUILDKITE_RETRY_COUNT": "1",
            },
            CiJob(
                "Buildkite", SHA, "main", "", "https://buildkite.com/b", "buildkite-u", shard=1, attempt=2
            ),
        ),
        (
            {
                "TF_BUILD": "True", "BUILD_SOURCEVERSION": SHA, "BUILD_SOURCEBRANCH": "refs/heads/main",
                "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/", "SYSTEM_TEAMPROJECT": "My Shop",
                "BUILD_BUILDID": "6", "SYSTEM_JOBATTEMPT": "1", "SYSTEM_JOBPOSITIONINPHASE": "4",
            },
            CiJob(
                "Azure Pipelines", SHA, "main", "",
                "https://dev.azure.com/acme/My%20Shop/_build/results?buildId=6", "azure-6", shard=4,
            ),
        ),
        (
            {
                "BITBUCKET_BUILD_NUMBER": "15", "BITBUCKET_COMMIT": SHA, "BITBUCKET_BRANCH": "fix",
                "BITBUCKET_PR_ID": "3", "BITBUCKET_REPO_FULL_NAME": "acme/shop",
                "BITBUCKET_PIPELINE_UUID": "{p}", "BITBUCKET_PARALLEL_STEP": "2",
            },
            CiJob(
                "Bitbucket Pipelines", SHA, "fix", "3",
                "https://bitbucket.org/acme/shop/pipelines/results/15", "bitbucket-{p}", shard=3,
            ),
        ),
        (
            {
                "TRAVIS": "true", "TRAVIS_COMMIT": SHA, "TRAVIS_BRANCH": "main",
                "TRAVIS_PULL_REQUEST": "21", "TRAVIS_PULL_REQUEST_SHA": HEAD,
                "TRAVIS_PULL_REQUEST_BRANCH": "fix", "TRAVIS_JOB_WEB_URL": "https://travis/j",
                "TRAVIS_BUILD_ID": "8",
            },
            CiJob("Travis CI", HEAD, "fix", "21", "https://travis/j", "travis-8"),
        ),
        (
            {
                "TEAMCITY_VERSION": "2026.1", "BUILD_VCS_NUMBER": SHA, "BUILD_NUMBER": "5",
                "TEAMCITY_PROJECT_NAME": "Shop", "TEAMCITY_BUILDCONF_NAME": "IT",
            },
            CiJob("TeamCity", SHA, run_key="teamcity-Shop-IT-5"),
        ),
        (
            {
                "DRONE": "true", "DRONE_COMMIT_SHA": SHA, "DRONE_BRANCH": "main", "DRONE_REPO": "acme/shop",
                "DRONE_BUILD_NUMBER": "2", "DRONE_BUILD_LINK": "https://drone/b",
            },
            CiJob("Drone", SHA, "main", "", "https://drone/b", "drone-acme/shop-2"),
        ),
        (
            {
                "CI": "woodpecker", "DRONE": "true", "CI_COMMIT_SHA": SHA, "CI_COMMIT_BRANCH": "main",
                "CI_COMMIT_PULL_REQUEST": "", "CI_PIPELINE_URL": "https://wp/p", "CI_REPO": "acme/shop",
                "CI_PIPELINE_NUMBER": "3",
            },
            CiJob("Woodpecker", SHA, "main", "", "https://wp/p", "woodpecker-acme/shop-3"),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, CiJob) else "",
)  # fmt: skip
def test_a_ci_is_read_as_it_speaks(variables: dict[str, str], job: CiJob) -> None:
    assert ci_job(variables) == job


def test_on_a_pull_request_github_means_the_commit_that_somebody_wrote() -> None:
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SHA": SHA,
        "GITHUB_REF": "refs/pull/9/merge",
        "GITHUB_HEAD_REF": "fix",
        "GITHUB_RUN_ID": "1",
    }
    event = json.dumps({"pull_request": {"head": {"sha": HEAD}}})

    job = ci_job(variables, event=event)

    assert (job.commit, job.branch, job.pull_request) == (HEAD, "fix", "9")


@pytest.mark.parametrize("event", ["", "{", "[]", '{"pull_request": null}'])
def test_an_event_that_says_nothing_leaves_githubs_own_commit(event: str) -> None:
    assert ci_job({"GITHUB_ACTIONS": "true", "GITHUB_SHA": SHA}, event=event).commit == SHA


def test_without_a_ci_nothing_is_known() -> None:
    assert ci_job({"PATH": "/bin"}) == CiJob()
