"""Reading a request's JSON field by field; what does not fit is a 400 that names the field."""

from __future__ import annotations

from shop.web import ProblemError


def member(body: object, name: str) -> object:
    if not isinstance(body, dict):
        raise ProblemError(400, "The body must be a JSON object.")
    if name not in body:
        raise ProblemError(400, f"{name} is missing.")
    return body[name]


def text(body: object, name: str, *, longest: int = 200) -> str:
    value = member(body, name)
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise ProblemError(400, f"{name} must be a text of 1 to {longest} characters.")
    return value.strip()


def whole(body: object, name: str, *, least: int, most: int = 10**9) -> int:
    value = member(body, name)
    # `True` is an int to Python and a mistake to everyone else.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ProblemError(400, f"{name} must be a whole number from {least} to {most}.")
    return value


def items(body: object, name: str, *, most: int = 100) -> list[object]:
    value = member(body, name)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise ProblemError(400, f"{name} must be a list of 1 to {most} items.")
    return value
