"""The readable description of the API, made from its OpenAPI document; no script, nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from runs.api.root import api


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an endpoint."""

    name: str
    place: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    #: Of the token that it needs; empty where something else opens it.
    scope: str
    parameters: list[Parameter]
    fields: list[Parameter]
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back with a status; `shape` names one of the page's shapes."""

    status: str
    shape: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An object that calls take or answer."""

    name: str
    description: str
    fields: list[Parameter]


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """Every call with its parameters and answers."""
    schema = api.get_openapi_schema()
    context = {"endpoints": endpoints(schema), "shapes": shapes(schema)}
    return render(request, "api/docs.html", context)


def endpoints(schema: dict[str, Any]) -> list[Endpoint]:
    """The calls of an OpenAPI document, in its order."""
    return [
        _endpoint(schema, path, method, operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]


def shapes(schema: dict[str, Any]) -> list[Shape]:
    """The objects of an OpenAPI document; plain lists of words are told where they are used."""
    return [
        Shape(name=name, description=body.get("description", ""), fields=_fields(schema, body, "answer"))
        for name, body in sorted(schema["components"]["schemas"].items())
        if body.get("properties")
    ]


def _endpoint(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Endpoint:
    parameters = [
        Parameter(
            name=one["name"],
            place=one["in"],
            kind=_kind(schema, one["schema"]),
            is_required=one.get("required", False),
            description=one.get("description", "") or one["schema"].get("description", ""),
        )
        for one in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {}).get("content", {})
    fields = [field for content in body.values() for field in _fields(schema, content["schema"], "body")]
    answers = [
        Answer(status=str(status), shape=_kind(schema, content["schema"]))
        for status, answer in operation.get("responses", {}).items()
        if status != "default"
        for content in answer.get("content", {}).values()
    ]
    scopes = [scope for door in operation.get("security", []) for own in door.values() for scope in own]
    return Endpoint(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        scope=", ".join(scopes),
        parameters=parameters,
        fields=fields,
        answers=answers,
    )


def _fields(schema: dict[str, Any], body: dict[str, Any], place: str) -> list[Parameter]:
    body = _resolved(schema, body)
    required = body.get("required", [])
    return [
        Parameter(
            name=name,
            place=place,
            kind=_kind(schema, field),
            is_required=name in required,
            description=field.get("description", ""),
        )
        for name, field in body.get("properties", {}).items()
    ]


def _resolved(schema: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in body:
        return body
    resolved: dict[str, Any] = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    return resolved


def _kind(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """A field's type as a reader says it: `string or null`, `list of RunOut`."""
    if "anyOf" in field:
        return " or ".join(_kind(schema, one) for one in field["anyOf"])
    if "$ref" in field:
        values = _resolved(schema, field).get("enum")
        return ", ".join(values) if values else str(field["$ref"].rpartition("/")[2])
    if field.get("type") == "array":
        return f"list of {_kind(schema, field['items'])}"
    return str(field.get("format") or field.get("type") or "anything")
