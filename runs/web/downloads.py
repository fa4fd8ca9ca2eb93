"""Files out of storage, always as downloads: they were written by strangers.

The bytes come through us, wherever the storage is: an address that it gave out would open the file to whoever
has the address.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import IO

from asgiref.sync import sync_to_async
from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

BLOCK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def download(request: HttpRequest, storage_name: str, name: str) -> HttpResponseBase:
    """Answer with a stored file under `name`, or with the one range of it that was asked for.

    Raises:
        Http404: it is not there.
    """
    try:
        file = await sync_to_async(default_storage.open)(storage_name)
    except FileNotFoundError as error:
        raise Http404 from error
    size = int(file.size)
    wanted = span(request.headers.get("Range", ""), size)
    response: HttpResponseBase
    if wanted is None:
        response = StreamingHttpResponse(_blocks(file, 0, size))
        response["Content-Length"] = str(size)
    elif wanted.start >= wanted.stop:
        file.close()
        response = HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        response["Content-Range"] = f"bytes */{size}"
    else:
        blocks = _blocks(file, wanted.start, len(wanted))
        response = StreamingHttpResponse(blocks, status=HTTPStatus.PARTIAL_CONTENT)
        response["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{size}"
        response["Content-Length"] = str(len(wanted))
    response["Content-Type"] = "application/octet-stream"
    response["Accept-Ranges"] = "bytes"
    disposition = content_disposition_header(as_attachment=True, filename=name)
    response["Content-Disposition"] = disposition or "attachment"
    return response


def span(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for; empty when there are none such, None when all are meant.

    What asks for several ranges, or in words of its own, is answered with everything, as RFC 9110 allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        return range(max(size - int(found[2]), 0), size)
    first = int(found[1])
    if found[2] and int(found[2]) < first:
        return None
    return range(first, min(int(found[2]) + 1, size) if found[2] else size)


async def _blocks(file: IO[bytes], start: int, length: int) -> AsyncIterator[bytes]:
    try:
        await asyncio.to_thread(file.seek, start)
        while length > 0 and (block := await asyncio.to_thread(file.read, min(BLOCK_BYTES, length))):
            length -= len(block)
            yield block
    finally:
        file.close()
