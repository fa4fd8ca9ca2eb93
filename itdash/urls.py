"""All URLs: health, the API, pages."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from runs.api import health
from runs.api.docs import api_docs
from runs.api.root import api

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/v1/docs", api_docs, name="api-docs"),
    path("api/v1/", api.urls),
    path("", include("runs.web.urls")),
]

handler400 = "runs.web.errors.bad_request"
handler403 = "runs.web.errors.forbidden"
handler404 = "runs.web.errors.not_found"
handler500 = "runs.web.errors.broken"
