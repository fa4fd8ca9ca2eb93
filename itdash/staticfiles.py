"""How static files are named, compressed and served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import brotli
from django.conf import settings
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.http import HttpRequest, HttpResponse
from whitenoise.compress import Compressor
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage

#: Above this many bytes Brotli's best setting takes seconds for a few per cent; Plotly is 4.7 MB.
LARGE_FILE_BYTES = 512 * 1024
#: The modules whose imports name each other by relative path; no third-party script is rewritten.
OWN_MODULES = "itdash/js/*.js"
#: Django's own rules for `import`, which it would otherwise apply to every script or none.
IMPORT_RULES = getattr(ManifestStaticFilesStorage, "_js_module_import_aggregation_patterns")[1]  # noqa: B009 - unknown to the stubs


class QuickCompressor(Compressor):  # type: ignore[misc] # whitenoise has no types
    """Compresses large files at a setting that a first start can afford."""

    @staticmethod
    def compress_brotli(data: bytes) -> bytes:
        """Return the data compressed with Brotli."""
        compressed: bytes = brotli.compress(data, quality=5 if len(data) > LARGE_FILE_BYTES else 11)
        return compressed


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # whitenoise has no types
    """Hashed names, also in the imports of our own modules, and compressed copies."""

    patterns = (*ManifestStaticFilesStorage.patterns, (OWN_MODULES, IMPORT_RULES))

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*args, **kwargs)
        self._addresses: dict[tuple[str, bool, bool], str] = {}

    def url(self, name: str, force: bool = False) -> str:  # noqa: FBT001, FBT002 - Django's own
        """The file's address, put together once: a page names the icons' hundreds of times.

        It depends on the manifest, which is read when the process starts.
        """
        key = (name, force, settings.DEBUG)
        if key not in self._addresses:
            self._addresses[key] = super().url(name, force)
        return self._addresses[key]

    def save_manifest(self) -> None:
        """Write the manifest; what was known by the one before is forgotten."""
        super().save_manifest()
        self._addresses.clear()

    def create_compressor(self, *, extensions: Iterable[str] | None, quiet: bool) -> Compressor:
        """Return the compressor to use."""
        return QuickCompressor(extensions=extensions, quiet=quiet)


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc] # whitenoise has no types
    """Serves static files whole: under ASGI a streamed one would be read in one piece anyway."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """Answer with the file, a part of it, or that it has not changed."""
        answer = static_file.get_response(request.method, request.META)
        content = b""
        if answer.file is not None:
            with answer.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(answer.status))
        del response["Content-Type"]
        for name, value in answer.headers:
            response[name] = value
        return response
