"""Django's setting for where reports and artifacts lie, out of ours."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from itdash.env import Environment
from itdash.s3 import Place


def file_storage(known: Environment) -> dict[str, Any]:
    """The default entry of `STORAGES`: a folder, or the bucket of `ITDASH_STORAGE`. Nothing is asked yet.

    Raises:
        ImproperlyConfigured: the bucket is named in another form, or what speaks to it is not installed.
    """
    if not known.storage:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    try:
        Place.read(known.storage)
    except ValueError as error:
        message = f"ITDASH_STORAGE: {error}. Like this: s3://bucket or s3://bucket/prefix."
        raise ImproperlyConfigured(message) from error
    if known.s3_endpoint and not known.s3_endpoint.startswith(("http://", "https://")):
        message = f"ITDASH_S3_ENDPOINT: “{known.s3_endpoint}” is not like https://s3.example.org."
        raise ImproperlyConfigured(message)
    if find_spec("boto3") is None:
        message = (
            "ITDASH_STORAGE names a bucket, and what speaks to it is not installed: pip install 'itdash[s3]'."
        )
        raise ImproperlyConfigured(message)
    options = {
        "place": known.storage,
        "endpoint": known.s3_endpoint,
        "region": known.s3_region,
        "addressing": known.s3_addressing,
    }
    return {"BACKEND": "itdash.s3.S3Storage", "OPTIONS": options}
