"""The engine's events of one environment, from one moment on, over streams that break."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import requests
import urllib3
from docker.api.client import APIClient

from environments.docker_engine import answers, networks, streams
from environments.docker_engine.errors import translated
from environments.engine import EngineEvent
from environments.labels import EnvironmentRef

#: How long to wait before a stream that broke is taken up again.
PAUSE_SECONDS: Final = 0.5
#: What a stream raises that ends in the middle: the SDK passes on what the library below it says.
BROKEN: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def events(
    api: APIClient,
    closer: streams.StreamCloser,
    environment: EnvironmentRef,
    since: int,
    stop: threading.Event,
) -> Iterator[EngineEvent]:
    """Everything since a moment of the engine's clock, in nanoseconds, once each, until `stop` is set.

    The engine is asked now, not when the first event is. A stream that breaks is taken up where it broke.
    """
    return _followed(_subscribed(api, environment, since), api, closer, environment, since, stop)


def _subscribed(api: APIClient, environment: EnvironmentRef, since: int) -> requests.Response:
    wanted = {
        "type": ["container"],
        "event": streams.EVENT_FILTER,
        "label": [f"{key}={value}" for key, value in networks.own_labels(environment).items()],
    }
    query = {"since": f"{since // 10**9}.{since % 10**9:09d}", "filters": json.dumps(wanted)}
    with translated("asking for the engine's events"):
        url = f"{api.base_url}/v{api.api_version}/events"
        response: requests.Response = api.get(url, params=query, stream=True, timeout=None)
        answers.raise_for(response)
    return response


def _followed(
    response: requests.Response,
    api: APIClient,
    closer: streams.StreamCloser,
    environment: EnvironmentRef,
    since: int,
    stop: threading.Event,
) -> Iterator[EngineEvent]:
    seen: set[tuple[int, str, str]] = set()
    while True:
        with suppress(*BROKEN), closer.watching(response, stop.is_set):
            for at, event in streams.events(streams.chunks(response, stop.is_set)):
                key = (at, event.service, event.kind)
                if key in seen:
                    continue
                seen.add(key)
                since = max(since, at)
                yield event
        if stop.is_set() or stop.wait(PAUSE_SECONDS):
            return
        response = _subscribed(api, environment, since)
