"""What a CI's job says of itself in its variables: commit, branch, pull request, addresses, slices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

type Variables = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CiJob:
    """A CI's job. Empty where the CI does not say."""

    #: The CI's name, for people.
    name: str = ""
    commit: str = ""
    branch: str = ""
    pull_request: str = ""
    #: Where people find it.
    url: str = ""
    #: The same for all jobs of one pipeline, also when it is tried again.
    run_key: str = ""
    #: Which parallel slice, and which try; both from 1.
    shard: int = 1
    attempt: int = 1


def ci_job(variables: Variables, *, event: str = "") -> CiJob:
    """Read the variables of the CI that is recognised in them; `event` is GitHub's event file, if any."""
    for mark, read in _READERS:
        if mark(variables):
            return read({**variables, "_EVENT": event})
    return CiJob()


def _github(of: Variables) -> CiJob:
    ref = of.get("GITHUB_REF", "").split("/")
    is_pull_request = ref[:2] == ["refs", "pull"]
    repository = f"{of.get('GITHUB_SERVER_URL', 'https://github.com')}/{of.get('GITHUB_REPOSITORY', '')}"
    run_id = of.get("GITHUB_RUN_ID", "")
    return CiJob(
        name="GitHub Actions",
        # On a pull request GITHUB_SHA is a merge that nobody wrote; the event tells the commit itself.
        commit=_pull_request_head(of["_EVENT"]) or of.get("GITHUB_SHA", ""),
        branch=of.get("GITHUB_HEAD_REF") or of.get("GITHUB_REF_NAME", ""),
        pull_request=ref[2] if is_pull_request and len(ref) > 2 else "",  # noqa: PLR2004 - refs/pull/NUMBER/merge
        url=f"{repository}/actions/runs/{run_id}",
        run_key=f"github-{run_id}",
        attempt=_number(of.get("GITHUB_RUN_ATTEMPT")),
    )


def _pull_request_head(event: str) -> str:
    try:
        return str(json.loads(event)["pull_request"]["head"]["sha"])
    except (ValueError, KeyError, TypeError):
        return ""


def _gitlab(of: Variables) -> CiJob:
    return CiJob(
        name="GitLab CI",
        commit=of.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or of.get("CI_COMMIT_SHA", ""),
        branch=of.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or of.get("CI_COMMIT_REF_NAME", ""),
        pull_request=of.get("CI_MERGE_REQUEST_IID", ""),
        url=of.get("CI_JOB_URL") or of.get("CI_PIPELINE_URL", ""),
        run_key=f"gitlab-{of.get('CI_PIPELINE_ID', '')}",
        shard=_number(of.get("CI_NODE_INDEX")),
    )


def _jenkins(of: Variables) -> CiJob:
    branch = of.get("CHANGE_BRANCH") or of.get("BRANCH_NAME") or of.get("GIT_BRANCH", "")
    return CiJob(
        name="Jenkins",
        commit=of.get("GIT_COMMIT", ""),
        branch=branch.removeprefix("origin/"),
        pull_request=of.get("CHANGE_ID", ""),
        url=of.get("BUILD_URL", ""),
        run_key=of.get("BUILD_TAG") or f"jenkins-{of.get('JOB_NAME', '')}-{of.get('BUILD_NUMBER', '')}",
    )


def _circleci(of: Variables) -> CiJob:
    pull_request = of.get("CIRCLE_PR_NUMBER") or of.get("CIRCLE_PULL_REQUEST", "").rpartition("/")[2]
    return CiJob(
        name="CircleCI",
        commit=of.get("CIRCLE_SHA1", ""),
        branch=of.get("CIRCLE_BRANCH", ""),
        pull_request=pull_request,
        url=of.get("CIRCLE_BUILD_URL", ""),
        run_key=f"circleci-{of.get('CIRCLE_WORKFLOW_ID') or of.get('CIRCLE_BUILD_NUM', '')}",
        shard=_number(of.get("CIRCLE_NODE_INDEX"), counted_from=0),
    )


def _buildkite(of: Variables) -> CiJob:
    return CiJob(
        name="Buildkite",
        commit=of.get("BUILDKITE_COMMIT", ""),
        branch=of.get("BUILDKITE_BRANCH", ""),
        pull_request=_unless_false(of.get("BUILDKITE_PULL_REQUEST")),
        url=of.get("BUILDKITE_BUILD_URL", ""),
        run_key=f"buildkite-{of.get('BUILDKITE_BUILD_ID', '')}",
        shard=_number(of.get("BUILDKITE_PARALLEL_JOB"), counted_from=0),
        attempt=_number(of.get("BUILDKITE_RETRY_COUNT"), counted_from=0),
    )


def _azure(of: Variables) -> CiJob:
    branch = of.get("SYSTEM_PULLREQUEST_SOURCEBRANCH") or of.get("BUILD_SOURCEBRANCH", "")
    project = f"{of.get('SYSTEM_COLLECTIONURI', '')}{of.get('SYSTEM_TEAMPROJECT', '')}"
    build = of.get("BUILD_BUILDID", "")
    return CiJob(
        name="Azure Pipelines",
        commit=of.get("SYSTEM_PULLREQUEST_SOURCECOMMITID") or of.get("BUILD_SOURCEVERSION", ""),
        branch=branch.removeprefix("refs/heads/"),
        pull_request=of.get("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER")
        or of.get("SYSTEM_PULLREQUEST_PULLREQUESTID", ""),
        url=f"{project.replace(' ', '%20')}/_build/results?buildId={build}",
        run_key=f"azure-{build}",
        shard=_number(of.get("SYSTEM_JOBPOSITIONINPHASE")),
        attempt=_number(of.get("SYSTEM_JOBATTEMPT")),
    )


def _bitbucket(of: Variables) -> CiJob:
    build = of.get("BITBUCKET_BUILD_NUMBER", "")
    return CiJob(
        name="Bitbucket Pipelines",
        commit=of.get("BITBUCKET_COMMIT", ""),
        branch=of.get("BITBUCKET_BRANCH", ""),
        pull_request=of.get("BITBUCKET_PR_ID", ""),
        url=f"https://bitbucket.org/{of.get('BITBUCKET_REPO_FULL_NAME', '')}/pipelines/results/{build}",
        run_key=f"bitbucket-{of.get('BITBUCKET_PIPELINE_UUID') or build}",
        shard=_number(of.get("BITBUCKET_PARALLEL_STEP"), counted_from=0),
    )


def _travis(of: Variables) -> CiJob:
    return CiJob(
        name="Travis CI",
        commit=of.get("TRAVIS_PULL_REQUEST_SHA") or of.get("TRAVIS_COMMIT", ""),
        branch=of.get("TRAVIS_PULL_REQUEST_BRANCH") or of.get("TRAVIS_BRANCH", ""),
        pull_request=_unless_false(of.get("TRAVIS_PULL_REQUEST")),
        url=of.get("TRAVIS_JOB_WEB_URL") or of.get("TRAVIS_BUILD_WEB_URL", ""),
        run_key=f"travis-{of.get('TRAVIS_BUILD_ID', '')}",
    )


def _teamcity(of: Variables) -> CiJob:
    # TeamCity exports few variables by itself; branch and pull request come when a build passes them on.
    build = (of.get("TEAMCITY_PROJECT_NAME"), of.get("TEAMCITY_BUILDCONF_NAME"), of.get("BUILD_NUMBER"))
    return CiJob(
        name="TeamCity",
        commit=of.get("BUILD_VCS_NUMBER", ""),
        branch=of.get("TEAMCITY_BUILD_BRANCH", "").removeprefix("refs/heads/"),
        pull_request=of.get("TEAMCITY_PULLREQUEST_NUMBER", ""),
        url=of.get("BUILD_URL", ""),
        run_key="-".join(("teamcity", *(part or "" for part in build))),
    )


def _drone(of: Variables) -> CiJob:
    return CiJob(
        name="Drone",
        commit=of.get("DRONE_COMMIT_SHA", ""),
        branch=of.get("DRONE_SOURCE_BRANCH") or of.get("DRONE_BRANCH", ""),
        pull_request=of.get("DRONE_PULL_REQUEST", ""),
        url=of.get("DRONE_BUILD_LINK", ""),
        run_key=f"drone-{of.get('DRONE_REPO', '')}-{of.get('DRONE_BUILD_NUMBER', '')}",
    )


def _woodpecker(of: Variables) -> CiJob:
    return CiJob(
        name="Woodpecker",
        commit=of.get("CI_COMMIT_SHA", ""),
        branch=of.get("CI_COMMIT_SOURCE_BRANCH") or of.get("CI_COMMIT_BRANCH", ""),
        pull_request=of.get("CI_COMMIT_PULL_REQUEST", ""),
        url=of.get("CI_PIPELINE_URL", ""),
        run_key=f"woodpecker-{of.get('CI_REPO', '')}-{of.get('CI_PIPELINE_NUMBER', '')}",
    )


def _unless_false(value: str | None) -> str:
    return "" if value in {None, "false"} else str(value)


def _number(value: str | None, *, counted_from: int = 1) -> int:
    """A position as counted from 1; 1 when there is none."""
    if not value or not value.isdecimal():
        return 1
    return int(value) + 1 - counted_from


def _is_set(name: str) -> Callable[[Variables], bool]:
    return lambda variables: bool(variables.get(name))


#: Woodpecker sets Drone's variables too and comes before it; Jenkins may run within others' agents.
_READERS: tuple[tuple[Callable[[Variables], bool], Callable[[Variables], CiJob]], ...] = (
    (lambda of: of.get("CI") == "woodpecker", _woodpecker),
    (_is_set("GITHUB_ACTIONS"), _github),
    (_is_set("GITLAB_CI"), _gitlab),
    (_is_set("CIRCLECI"), _circleci),
    (_is_set("BUILDKITE"), _buildkite),
    (_is_set("TF_BUILD"), _azure),
    (_is_set("BITBUCKET_BUILD_NUMBER"), _bitbucket),
    (_is_set("TRAVIS"), _travis),
    (_is_set("TEAMCITY_VERSION"), _teamcity),
    (_is_set("DRONE"), _drone),
    (_is_set("JENKINS_URL"), _jenkins),
)
