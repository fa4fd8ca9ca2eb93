"""The one door to environment variables: read once, typed, with the mend in every complaint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_SECRET = "development-only-secret-key"  # noqa: S105 - refused outside development


class Environment(BaseSettings):
    """What itdash reads from its process environment; every default fits development."""

    model_config = SettingsConfigDict(env_prefix="ITDASH_", extra="ignore")

    database_url: str = Field(
        default="postgresql://itdash@localhost/itdash",
        validation_alias=AliasChoices("DATABASE_URL", "ITDASH_DATABASE_URL"),
    )
    broker_url: str = Field(
        default="redis://localhost:6379/0",
        validation_alias=AliasChoices("BROKER_URL", "ITDASH_BROKER_URL"),
    )
    secret_key: str = DEVELOPMENT_SECRET
    #: "production" refuses to start without a secret key and turns secure cookies on.
    mode: Literal["development", "production"] = "development"
    allowed_hosts: str = "localhost,127.0.0.1,[::1]"
    #: The address people use; links in messages and API answers are built on it.
    public_url: str = "http://localhost:8000"
    #: Everything on disk: reports, checkouts, mirrors, environments' private folders.
    data_dir: Path = Path(".itdash")
    #: Where reports and artifacts lie: `s3://bucket/prefix`; empty: in the data folder.
    storage: str = ""
    #: A server of one's own that speaks S3; empty: Amazon's, of the region.
    s3_endpoint: str = ""
    s3_region: str = ""
    #: Whether a bucket is named in the path or in the host; "auto": in the path of a server of one's own.
    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    #: "auto" takes a container engine when one answers, the local engine otherwise.
    engine: Literal["auto", "docker", "local"] = "auto"
    #: What keeps services from each other: an image with iptables and tc, or one to build it from.
    fault_image: str = ""
    fault_base_image: str = "debian:13-slim"
    #: Registries, namespaces or repositories that images may be of, with commas between; empty: any.
    images: str = ""
    #: Has what is on Docker Hub, for its rate limits: `mirror.example/hub`.
    image_mirror: str = ""
    #: Names this installation on a shared engine: only what carries it is ever touched.
    instance: str = "itdash"
    #: Runs executed at once by one worker.
    run_slots: int = Field(default=2, ge=1)
    #: A worker's right to a run; renewed at a third of it, swept when it has passed.
    run_lease_seconds: int = Field(default=20, ge=2)
    #: How long a process may be silent before its environments are removed.
    environment_lease_seconds: int = Field(default=30, ge=2)
    #: Addresses for the networks of environments, and the length of each one's prefix.
    subnet_pool: str = "10.213.0.0/16"
    subnet_prefix_length: int = 26
    #: No environment is begun while an engine's disk has less free; 0 begins them on a full one.
    disk_reserve_gib: float = Field(default=2, ge=0)
    sweep_interval_seconds: int = Field(default=5, ge=1)
    #: How long a run waits for the shards that its uploads promised, from the last that came.
    shards_wait_seconds: int = Field(default=3600, ge=1)
    reap_interval_seconds: int = Field(default=10, ge=1)
    #: Environments that failed and are held for a person: at once of one project, of all, and for how long.
    held_per_project: int = Field(default=3, ge=0)
    held_at_once: int = Field(default=10, ge=0)
    held_longest_seconds: int = Field(default=4 * 3600, ge=60)
    #: Proxies in front, each of which adds to X-Forwarded-For: whose sign-ins fail is told by address.
    proxy_count: int = Field(default=0, ge=0)
    #: An OpenID Connect server to sign in with: its issuer's address, and what it knows us by.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    #: What its button says after "Continue with".
    oidc_name: str = "single sign-on"
    github_url: str = "https://github.com"
    github_client_id: str = ""
    github_client_secret: str = ""
    gitlab_url: str = "https://gitlab.com"
    gitlab_client_id: str = ""
    gitlab_client_secret: str = ""
    #: Whoever has a verified address of these domains may make an account through a provider.
    sign_up_domains: str = ""
    #: The server that commands like `itdash run` speak to, and the token they show it.
    url: str = "http://localhost:8000"
    token: str = ""
    #: Networks of private addresses that messages may be sent to, with commas between.
    allowed_networks: str = ""
    #: Days that what was sent is kept; more than the one for which a run's end is news.
    sent_kept_days: int = Field(default=90, ge=2)
    #: Days that things are kept, each of its own; 0 is for ever. Pinned runs keep everything.
    keep_results_days: int = Field(default=365, ge=0)
    keep_texts_days: int = Field(default=30, ge=0)
    keep_artifacts_days: int = Field(default=90, ge=0)
    keep_reports_days: int = Field(default=90, ge=0)
    keep_logs_days: int = Field(default=180, ge=0)
    keep_counts_days: int = Field(default=1095, ge=0)
    #: The mail server; without one, no mail is sent.
    email_url: str = ""
    email_from: str = "itdash@localhost"
    log_format: Literal["console", "json"] = "console"
    log_level: str = "INFO"


@cache
def environment() -> Environment:
    """Return the process environment, read once."""
    return Environment()


def demo_variables() -> dict[str, str]:
    """Return the example's variables: ITDASH_DEMO_POSTGRES_IMAGE here is POSTGRES_IMAGE there."""
    prefix = "ITDASH_DEMO_"
    return {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}


def process_environment(**values: str) -> dict[str, str]:
    """Return the variables of this process, with `values` in place of its own: for a child process."""
    return {**os.environ, **values}


#: What git may know of our environment: where programs and certificates are, the proxy, the ssh agent.
GIT_NAMES = frozenset(
    {
        *("PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)


def git_variables() -> dict[str, str]:
    """Return the variables that git is started with; none of them is a secret of ours."""
    return {name: value for name, value in os.environ.items() if name in GIT_NAMES}


def set_environment(values: Mapping[str, str]) -> None:
    """Set variables of this process. Only before Django's settings are read: they are read once."""
    os.environ.update(values)
    environment.cache_clear()
