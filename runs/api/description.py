"""The API's OpenAPI document: to what the framework knows, who may call and how errors look are added."""

from __future__ import annotations

from typing import Any, Final

from ninja import NinjaAPI
from ninja.constants import NOT_SET
from ninja.openapi.schema import OpenAPISchema

from runs.api.auth import TokenAuth
from runs.api.problems import CONTENT_TYPE

PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong, and what to do (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do."},
        "field": {"type": "string", "description": "The field whose value cannot be; only of such."},
        "problems": {
            "type": "array",
            "description": "Every value that cannot be, with where it was and what is wrong; only of such.",
            "items": {"type": "object"},
        },
    },
}
FAILED: Final[dict[str, Any]] = {
    "description": "Any error",
    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
#: An operation's parameter, for those that heed it.
IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "in": "header",
            "name": "Idempotency-Key",
            "required": False,
            "schema": {"type": "string"},
            "description": "The same key and content again does nothing twice; other content is a 409.",
        }
    ]
}


class DescribedAPI(NinjaAPI):
    """An API whose description says which token a call needs, and how it fails."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The document, each operation with its scope and its errors."""
        schema = super().get_openapi_schema(path_prefix=path_prefix, path_params=path_params)
        scopes = self._scopes()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"]["default"] = FAILED
                doors = scopes.get(operation["operationId"], [])
                if doors:
                    operation["security"] = [{"token": doors}]
        schema["components"]["schemas"]["Problem"] = PROBLEM
        schema["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A project's token: itd_…"}
        }
        return schema

    def _scopes(self) -> dict[str, list[str]]:
        """By operation the scope that opens it; nothing for what is opened otherwise."""
        return {
            self.get_openapi_operation_id(operation): [
                str(door.scope) for door in operation.auth_callbacks if isinstance(door, TokenAuth)
            ]
            for router in self._get_bound_routers()
            for view in router.path_operations.values()
            for operation in view.operations
            if operation.auth_param is not NOT_SET
        }
