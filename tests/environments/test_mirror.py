"""Images pulled by a real engine, from a mirror of Docker Hub and from a registry that gives out no more."""

from __future__ import annotations

import secrets

import pytest

from environments.docker_engine import DockerEngine
from environments.errors import EnvironmentFailedError, FailureKind
from environments.spec import ServiceSpec
from tests.contract.conftest import ref_for
from tests.environments.registry import registry

pytestmark = pytest.mark.engine


def test_an_image_of_docker_hub_is_pulled_from_its_mirror_and_keeps_its_name() -> None:
    name = f"itdash-test-{secrets.token_hex(6)}"
    ref = ref_for("mirror")
    with registry() as server:
        engine = DockerEngine(image_mirror=server.place)
        try:
            image = engine.prepare_image(ref, ServiceSpec("web", image=f"{name}:1"))

            assert image == f"{name}:1"
            assert f"/v2/hub/library/{name}/manifests/1" in server.asked
            again = len(server.asked)
            assert (
                DockerEngine(image_mirror=server.place).prepare_image(ref, ServiceSpec("b", image=image))
                == image
            )
            assert len(server.asked) == again
        finally:
            for tag in (f"{name}:1", f"{server.place}/library/{name}:1"):
                engine._api.remove_image(tag)
            engine.close()


def test_a_registry_that_gives_out_no_more_is_no_missing_image() -> None:
    engine = DockerEngine()
    with registry(is_limited=True) as server, pytest.raises(EnvironmentFailedError) as caught:
        engine.prepare_image(ref_for("limited"), ServiceSpec("web", image=f"{server.place}/web:1"))
    engine.close()

    assert caught.value.kind is FailureKind.RATE_LIMITED
    assert caught.value.service == "web"
    assert "sign the engine in there, or name a mirror in ITDASH_IMAGE_MIRROR" in str(caught.value)
