"""Django settings. Production differs only by environment variables; see `itdash/env.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

from environments.registries import is_place
from environments.subnets import Pool
from itdash.env import DEVELOPMENT_SECRET, environment, git_variables
from itdash.mail import mailer
from itdash.storages import file_storage
from runs.notify.addresses import Network, read_networks

ENV = environment()
BASE_DIR = Path(__file__).resolve().parent.parent
PRODUCTION = ENV.mode == "production"

if PRODUCTION and ENV.secret_key == DEVELOPMENT_SECRET:
    message = (
        "ITDASH_SECRET_KEY is not set. Set it to a long random string, for example the output of "
        "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`, and keep it."
    )
    raise ImproperlyConfigured(message)

# --- security -------------------------------------------------------------------------------------
SECRET_KEY = ENV.secret_key
DEBUG = False
ALLOWED_HOSTS = [host.strip() for host in ENV.allowed_hosts.split(",") if host.strip()]
PUBLIC_URL = ENV.public_url.rstrip("/")
SECURE = PUBLIC_URL.startswith("https://")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "runs.web.errors.csrf_failed"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_CONTENT_TYPE_NOSNIFF = True
#: Links of invitations hold a secret: no other site is told which page led to it.
SECURE_REFERRER_POLICY = "same-origin"
PROXY_COUNT = ENV.proxy_count
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}

# --- applications ---------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.postgres",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.gitlab",
    "allauth.socialaccount.providers.openid_connect",
    "environments",
    "runs",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "itdash.staticfiles.StaticFilesMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "runs.api.middleware.ProblemsMiddleware",
    "runs.api.middleware.HeadMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "itdash.urls"
ASGI_APPLICATION = "itdash.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- database -------------------------------------------------------------------------------------


def database(url: str) -> dict[str, Any]:
    """Django's settings for a libpq URL; the driver itself reads it, Unix sockets included."""
    known = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": known.pop("dbname", "itdash"),
        "USER": known.pop("user", ""),
        "PASSWORD": known.pop("password", ""),
        "HOST": known.pop("host", ""),
        "PORT": str(known.pop("port", "")),
        "CONN_MAX_AGE": 0,
        # Before the pool gives out a connection: the server may have been restarted meanwhile.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": known | {"pool": {"min_size": 1, "max_size": 16, "timeout": 30}},
    }


DATABASES = {"default": database(ENV.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people ---------------------------------------------------------------------------------------
AUTH_USER_MODEL = "runs.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- signing in with other accounts ------------------------------------------------------------------
SIGN_UP_DOMAINS = [domain.strip().lower() for domain in ENV.sign_up_domains.split(",") if domain.strip()]
#: Names of the configured providers by the word in their addresses.
SIGN_IN_PROVIDERS: dict[str, str] = {}
#: The server behind each: who has an id on one is nobody on another.
SIGN_IN_SERVERS: dict[str, str] = {}
SOCIALACCOUNT_PROVIDERS: dict[str, dict[str, Any]] = {}
if ENV.oidc_issuer and ENV.oidc_client_id:
    SIGN_IN_PROVIDERS["sso"], SIGN_IN_SERVERS["sso"] = ENV.oidc_name, ENV.oidc_issuer
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "APPS": [
            {
                "provider_id": "sso",
                "name": ENV.oidc_name,
                "client_id": ENV.oidc_client_id,
                "secret": ENV.oidc_client_secret,
                "settings": {"server_url": ENV.oidc_issuer},
            }
        ],
        "OAUTH_PKCE_ENABLED": True,
    }
if ENV.github_client_id:
    SIGN_IN_PROVIDERS["github"], SIGN_IN_SERVERS["github"] = "GitHub", ENV.github_url
    SOCIALACCOUNT_PROVIDERS["github"] = {
        "APPS": [{"client_id": ENV.github_client_id, "secret": ENV.github_client_secret}],
        "SCOPE": ["read:user", "user:email"],
        "OAUTH_PKCE_ENABLED": True,
    } | ({} if ENV.github_url == "https://github.com" else {"GITHUB_URL": ENV.github_url})
if ENV.gitlab_client_id:
    SIGN_IN_PROVIDERS["gitlab"], SIGN_IN_SERVERS["gitlab"] = "GitLab", ENV.gitlab_url
    SOCIALACCOUNT_PROVIDERS["gitlab"] = {
        "APPS": [{"client_id": ENV.gitlab_client_id, "secret": ENV.gitlab_client_secret}],
        "GITLAB_URL": ENV.gitlab_url.rstrip("/"),
        "SCOPE": ["read_user"],
        "OAUTH_PKCE_ENABLED": True,
    }
ACCOUNT_ADAPTER = "runs.web.single_sign_on.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "runs.web.single_sign_on.ProviderAdapter"
ACCOUNT_EMAIL_VERIFICATION = SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_QUERY_EMAIL = True
#: An account is found by what the provider calls it, never by an e-mail address.
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
#: We never act for anybody at their provider.
SOCIALACCOUNT_STORE_TOKENS = False
#: Seconds that a provider may take to answer.
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10

# --- files ----------------------------------------------------------------------------------------
DATA_DIR = ENV.data_dir.resolve()
MEDIA_ROOT = DATA_DIR / "files"
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "itdash.finders.PackagedFilesFinder",
]
#: Pages name hashed files only; the plain copies would be compressed for nothing.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STORAGES: dict[str, dict[str, Any]] = {
    "default": file_storage(ENV),
    "staticfiles": {"BACKEND": "itdash.staticfiles.StaticStorage"},
}
UPLOAD_LIMIT_BYTES = 250 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
#: Of requests that are no uploads, with room for each to say by itself what is too much for it.
FORM_LIMIT_BYTES = 6 * 1024 * 1024
#: Java builds write a file per class; `itdash upload` packs many files into one.
DATA_UPLOAD_MAX_NUMBER_FILES = 1_000
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# --- time and language ----------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False

# --- work -----------------------------------------------------------------------------------------
BROKER_URL = ENV.broker_url
#: The same address as Celery spells it: a Unix socket is `unix://` to everybody else.
CELERY_BROKER_URL = BROKER_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
INSTANCE = ENV.instance
ENGINE = ENV.engine
IMAGES = tuple(place.strip() for place in ENV.images.split(",") if place.strip())
if unnamed := [place for place in IMAGES if not is_place(place)]:
    message = f"ITDASH_IMAGES: “{unnamed[0]}” names no registry. Like this: docker.io/library, ghcr.io/acme."
    raise ImproperlyConfigured(message)
IMAGE_MIRROR = ENV.image_mirror.strip().rstrip("/")
if IMAGE_MIRROR and not is_place(IMAGE_MIRROR):
    message = f"ITDASH_IMAGE_MIRROR: “{IMAGE_MIRROR}” is not like mirror.example/hub, without https://."
    raise ImproperlyConfigured(message)
FAULT_IMAGE = ENV.fault_image
FAULT_BASE_IMAGE = ENV.fault_base_image
RUN_SLOTS = ENV.run_slots
#: A worker's right to a run; renewed at a third of it, swept when it has passed.
RUN_LEASE_SECONDS = ENV.run_lease_seconds
ENVIRONMENT_LEASE_SECONDS = ENV.environment_lease_seconds
DISK_RESERVE_BYTES = round(ENV.disk_reserve_gib * 1024**3)
try:
    #: Addresses for the networks of environments.
    SUBNET_POOL = Pool.read(ENV.subnet_pool, ENV.subnet_prefix_length)
except ValueError as error:
    message = (
        f"ITDASH_SUBNET_POOL and ITDASH_SUBNET_PREFIX_LENGTH: {error}. A range and a length, as in "
        "10.213.0.0/16 and 26."
    )
    raise ImproperlyConfigured(message) from error
SWEEP_INTERVAL_SECONDS = ENV.sweep_interval_seconds
SHARDS_WAIT_SECONDS = ENV.shards_wait_seconds
REAP_INTERVAL_SECONDS = ENV.reap_interval_seconds
#: Environments that failed and are held for a person to look at; see docs/decisions/0207.
HELD_PER_PROJECT = ENV.held_per_project
HELD_AT_ONCE = ENV.held_at_once
HELD_LONGEST_SECONDS = ENV.held_longest_seconds
GIT_VARIABLES = git_variables()

# --- retention ------------------------------------------------------------------------------------
#: Days, 0 for ever; see `runs/actions/retention.py`.
KEEP_RESULTS_DAYS = ENV.keep_results_days
KEEP_TEXTS_DAYS = ENV.keep_texts_days
KEEP_ARTIFACTS_DAYS = ENV.keep_artifacts_days
KEEP_REPORTS_DAYS = ENV.keep_reports_days
KEEP_LOGS_DAYS = ENV.keep_logs_days
KEEP_COUNTS_DAYS = ENV.keep_counts_days

# --- messages out ---------------------------------------------------------------------------------
#: Private networks that channels may reach; see docs/decisions/0156.
try:
    ALLOWED_NETWORKS: tuple[Network, ...] = read_networks(ENV.allowed_networks)
except ValueError as error:
    message = f"ITDASH_ALLOWED_NETWORKS: {error}. Networks with commas between: 10.0.0.0/8, 192.168.7.4."
    raise ImproperlyConfigured(message) from error
#: Longest that a message's receiver may take to answer.
SEND_TIMEOUT_SECONDS = 15
SENT_KEPT_DAYS = ENV.sent_kept_days
HAS_MAIL_SERVER = bool(ENV.email_url)
MAILERS = {"default": mailer(ENV.email_url, timeout_seconds=SEND_TIMEOUT_SECONDS)}
DEFAULT_FROM_EMAIL = ENV.email_from

# --- logs -----------------------------------------------------------------------------------------
RENDERER = "json" if ENV.log_format == "json" else "console"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer()
                if RENDERER == "json"
                else structlog.dev.ConsoleRenderer(
                    colors=False, exception_formatter=structlog.dev.plain_traceback
                ),
            ],
            "foreign_pre_chain": [
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": ENV.log_level},
    # Each process would say where it found its credentials, among a command's own words.
    "loggers": {"botocore.credentials": {"level": "WARNING"}},
}
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
