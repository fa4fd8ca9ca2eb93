"""Lines that send reports from a CI, ready to copy, with what it calls commit, branch and build filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Final

from django import template

from runs.queries.text import one_line

register = template.Library()

#: Where CIs that run as root in a fresh checkout usually have them.
#: Within `${`, `$(`, `$[`, `{{` and `<<`.
_FILLED_IN: Final = re.compile(r"(?<=\$)(?=[{(\[])|(?<=\{)(?=\{)|(?<=<)(?=<)")
_REPORT: Final = "reports/junit.xml"
_TOKEN: Final = "$ITDASH_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class Snippet:
    """One CI's lines. `key` is its word in the markup; `kind` says what the lines are."""

    key: str
    name: str
    kind: str
    text: str
    is_yaml: bool = True
    #: Where the token is kept in that CI.
    kept_as: str = ""


@register.simple_tag
def ci_snippets(suite: str, branch: str, secret: str, upload_url: str) -> list[Snippet]:
    """The lines for each CI, with suite and address; a secret that was just made stands in curl's."""
    return snippets(suite=suite, branch=branch, secret=secret, upload_url=upload_url)


def snippets(*, suite: str, branch: str, secret: str, upload_url: str) -> list[Snippet]:
    """The lines for curl and each CI. Names are strangers' text: each is one word of its shell."""
    name, on = _word(suite), _word(branch)

    def curl(*fields: str) -> str:
        return _curl(_TOKEN, [f"-F suite={name}", *fields, f"-F files=@{_REPORT}"], upload_url)

    return [
        Snippet(
            "curl",
            "curl",
            "command",
            _curl(
                secret or _TOKEN,
                [
                    f"-F suite={name} -F branch={on}",
                    '-F commit="$(git rev-parse HEAD)"',
                    "-F files=@junit.xml",
                ],
                upload_url,
            ),
            is_yaml=False,
        ),
        Snippet(
            "gha",
            "GitHub Actions",
            "step",
            "- name: Send results to itdash\n"
            "  if: always()   # failures are what you want to see\n"
            "  env:\n"
            "    ITDASH_TOKEN: ${{ secrets.ITDASH_TOKEN }}\n"
            "    COMMIT: ${{ github.event.pull_request.head.sha || github.sha }}\n"
            "    PULL_REQUEST: ${{ github.event.pull_request.number }}\n"
            "  run: |\n"
            + indent(
                curl(
                    '-F branch="${GITHUB_HEAD_REF:-$GITHUB_REF_NAME}" -F commit="$COMMIT"',
                    '-F pull_request="$PULL_REQUEST"',
                    '-F run_key="github-$GITHUB_RUN_ID" -F attempt="$GITHUB_RUN_ATTEMPT"',
                    '-F ci_url="$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID"',
                ),
                "    ",
            ),
            kept_as="a repository secret",
        ),
        Snippet(
            "gitlab",
            "GitLab CI",
            "lines for a job",
            "after_script:   # runs when the tests failed, too\n  - |\n"
            + indent(
                curl(
                    '-F branch="${CI_MERGE_REQUEST_SOURCE_BRANCH_NAME:-$CI_COMMIT_REF_NAME}"',
                    '-F commit="${CI_MERGE_REQUEST_SOURCE_BRANCH_SHA:-$CI_COMMIT_SHA}"',
                    '-F pull_request="$CI_MERGE_REQUEST_IID" -F shard="${CI_NODE_INDEX:-1}"',
                    '-F run_key="gitlab-$CI_PIPELINE_ID" -F ci_url="$CI_JOB_URL"',
                ),
                "    ",
            ),
            kept_as="a masked CI/CD variable",
        ),
        Snippet(
            "jenkins",
            "Jenkins",
            "lines for a Jenkinsfile",
            "post {\n  always {\n"
            "    withCredentials([string(credentialsId: 'itdash', variable: 'ITDASH_TOKEN')]) {\n"
            "      sh '''\n"
            + indent(
                _groovy(
                    curl(
                        '-F branch="${CHANGE_BRANCH:-$BRANCH_NAME}" -F commit="$GIT_COMMIT"',
                        '-F pull_request="$CHANGE_ID"',
                        '-F run_key="$BUILD_TAG" -F ci_url="$BUILD_URL"',
                    )
                ),
                "        ",
            )
            + "\n      '''\n    }\n  }\n}",
            is_yaml=False,
            kept_as="a secret text with the id itdash",
        ),
        Snippet(
            "circleci",
            "CircleCI",
            "step",
            "- run:\n    name: Send results to itdash\n"
            "    when: always   # failures are what you want to see\n    command: |\n"
            + indent(
                curl(
                    '-F branch="$CIRCLE_BRANCH" -F commit="$CIRCLE_SHA1"',
                    '-F pull_request="${CIRCLE_PULL_REQUEST##*/}" -F shard="$((CIRCLE_NODE_INDEX + 1))"',
                    '-F run_key="circleci-$CIRCLE_WORKFLOW_ID" -F ci_url="$CIRCLE_BUILD_URL"',
                ),
                "      ",
            ),
            kept_as="an environment variable of the project",
        ),
        Snippet(
            "buildkite",
            "Buildkite",
            "step",
            "- label: Send results to itdash\n"
            "  depends_on: tests   # the key of the step that tests\n"
            "  allow_dependency_failure: true\n"
            "  commands:\n"
            f"    - buildkite-agent artifact download {_REPORT} .\n"
            "    - |\n"
            + indent(
                # One dollar would be filled in while the pipeline is uploaded.
                curl(
                    '-F branch="$BUILDKITE_BRANCH" -F commit="$BUILDKITE_COMMIT"',
                    '-F pull_request="${BUILDKITE_PULL_REQUEST#false}"',
                    '-F run_key="buildkite-$BUILDKITE_BUILD_ID" -F ci_url="$BUILDKITE_BUILD_URL"',
                ).replace("$", "$$"),
                "      ",
            ),
            kept_as="a secret of the cluster or agent",
        ),
        Snippet(
            "azure",
            "Azure Pipelines",
            "step",
            "- script: |\n"
            '    branch="${SYSTEM_PULLREQUEST_SOURCEBRANCH:-$BUILD_SOURCEBRANCH}"\n'
            '    build="$SYSTEM_COLLECTIONURI$SYSTEM_TEAMPROJECTID/_build/results?buildId=$BUILD_BUILDID"\n'
            + indent(
                curl(
                    '-F branch="${branch#refs/heads/}"',
                    '-F commit="${SYSTEM_PULLREQUEST_SOURCECOMMITID:-$BUILD_SOURCEVERSION}"',
                    '-F pull_request="$SYSTEM_PULLREQUEST_PULLREQUESTNUMBER"',
                    '-F run_key="azure-$BUILD_BUILDID" -F attempt="$SYSTEM_JOBATTEMPT" -F ci_url="$build"',
                ),
                "    ",
            )
            + "\n  displayName: Send results to itdash\n"
            "  condition: always()   # failures are what you want to see\n"
            "  env:\n    ITDASH_TOKEN: $(ITDASH_TOKEN)",
            kept_as="a secret variable of the pipeline",
        ),
        Snippet(
            "bitbucket",
            "Bitbucket",
            "lines for a step",
            "after-script:   # runs when the tests failed, too\n  - |\n"
            + indent(
                curl(
                    '-F branch="$BITBUCKET_BRANCH" -F commit="$BITBUCKET_COMMIT"',
                    '-F pull_request="$BITBUCKET_PR_ID"',
                    '-F run_key="bitbucket-$BITBUCKET_PIPELINE_UUID"',
                    '-F ci_url="https://bitbucket.org/$BITBUCKET_REPO_FULL_NAME'
                    '/pipelines/results/$BITBUCKET_BUILD_NUMBER"',
                ),
                "    ",
            ),
            kept_as="a secured repository variable",
        ),
    ]


def _word(text: str) -> str:
    """A stranger's text as one word of a shell, in which no CI finds anything to fill in by itself.

    CIs replace what begins so before any shell sees it, also within quotes: it is taken apart, and the shell
    puts it together again.
    """
    return _FILLED_IN.sub("''", shlex.quote(one_line(text, 250)))


def _curl(token: str, fields: Sequence[str], upload_url: str) -> str:
    head = f'curl --fail-with-body --retry 3 -H "Authorization: Bearer {token}"'
    return " \\\n  ".join([head, *fields, shlex.quote(upload_url)])


def _groovy(command: str) -> str:
    """As it stands within three quotes: Groovy reads backslashes before the shell does."""
    return command.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
