"""Where images come from, whether they may, and where a mirror has them."""

from __future__ import annotations

import pytest

from environments.registries import bases, is_allowed, is_place, mirrored, repository


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("postgres", "docker.io/library/postgres"),
        ("postgres:17", "docker.io/library/postgres"),
        ("postgres:17@sha256:0123", "docker.io/library/postgres"),
        ("docker.io/postgres:17", "docker.io/library/postgres"),
        ("bitnami/kafka:3", "docker.io/bitnami/kafka"),
        ("ghcr.io/acme/tools/api", "ghcr.io/acme/tools/api"),
        ("localhost/api", "localhost/api"),
        ("registry:5000/api:1", "registry:5000/api"),
    ],
)
def test_a_name_in_full_says_registry_namespace_and_repository(image: str, full: str) -> None:
    assert repository(image) == full


@pytest.mark.parametrize(
    ("image", "may"),
    [
        ("postgres:17", True),
        ("docker.io/library/redis", True),
        ("bitnami/postgres", False),
        ("library.evil.example/postgres", False),
        ("ghcr.io/acme/api:1", True),
        ("ghcr.io/acme-evil/api:1", False),
        ("ghcr.io/other/api", False),
        ("quay.io/one/tool:2", True),
        ("quay.io/one/toolbox:2", False),
        ("$IMAGE", False),
    ],
)
def test_an_image_is_allowed_below_a_place_and_not_beside_it(image: str, may: bool) -> None:
    assert is_allowed(image, ["docker.io/library", "ghcr.io/acme", "quay.io/one/tool"]) is may


def test_without_a_list_every_image_is_allowed() -> None:
    assert is_allowed("evil.example/x", [])


@pytest.mark.parametrize(
    "text", ["docker.io", "docker.io/library", "registry:5000/a/b", "localhost/x", "a.b"]
)
def test_a_place_names_its_registry(text: str) -> None:
    assert is_place(text)


@pytest.mark.parametrize(
    "text", ["", "library", "postgres", "docker.io/", "https://x.y", "A.B", "a.b/*", "a.b c"]
)
def test_what_names_no_registry_is_no_place(text: str) -> None:
    assert not is_place(text)


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("postgres:17", "mirror.example/hub/library/postgres:17"),
        ("bitnami/kafka", "mirror.example/hub/bitnami/kafka"),
        ("docker.io/a/b:1@sha256:0123", "mirror.example/hub/a/b:1@sha256:0123"),
        ("ghcr.io/acme/api:1", "ghcr.io/acme/api:1"),
    ],
)
def test_a_mirror_has_what_is_on_docker_hub(image: str, there: str) -> None:
    assert mirrored(image, "mirror.example/hub") == there
    assert mirrored(image, "") == image


def test_everything_a_dockerfile_takes_from_is_found() -> None:
    text = """# syntax=docker/dockerfile:1
ARG VERSION=3.13
ARG REGISTRY
FROM --platform=linux/amd64 python:${VERSION} AS build
COPY --from=ghcr.io/astral/uv:1 /uv /uv
RUN --mount=type=bind,from=tools:2,source=/x,target=/x \\
    # a remark between
    true
FROM "${REGISTRY}/base" as second
COPY --from=build /a /a
COPY --from=0 /b /b
FROM scratch
FROM build
FROM ${UNKNOWN}
FROM ${OTHER:-debian:13}
"""

    assert bases(text, {"REGISTRY": "registry.example"}) == [
        "docker/dockerfile:1",
        "python:3.13",
        "ghcr.io/astral/uv:1",
        "tools:2",
        "registry.example/base",
        "${UNKNOWN}",
        "debian:13",
    ]
