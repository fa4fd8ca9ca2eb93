"""The API at `/api/v1`: its routers, its errors, its description."""

from __future__ import annotations

from runs.api import environments, problems, renames, runs, services, split, tests, uploads, webhooks
from runs.api.description import DescribedAPI

api = DescribedAPI(
    title="itdash",
    version="1",
    description="Queue runs, upload reports, read results. Send `Authorization: Bearer itd_…`.",
    urls_namespace="api",
    docs_url=None,
    openapi_url="/openapi.json",
)
problems.install(api)
api.add_router("", runs.router)
api.add_router("", environments.router)
api.add_router("", split.router)
api.add_router("", services.router)
api.add_router("", renames.router)
api.add_router("", tests.router)
api.add_router("", uploads.router)
api.add_router("", webhooks.router)
