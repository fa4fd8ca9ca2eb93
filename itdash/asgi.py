"""The ASGI application."""

import gc
import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itdash.settings")
_django = get_asgi_application()
# Everything that pages are made by is loaded here, and stays: looking through it for garbage again and again
# made one request in some dozens take a tenth of a second longer.
_ = get_resolver().url_patterns

from itdash.bodies import BoundedBodies  # noqa: E402 - its answers need Django set up

application = BoundedBodies(
    _django, limit_bytes=settings.UPLOAD_LIMIT_BYTES, elsewhere_bytes=settings.FORM_LIMIT_BYTES
)
gc.collect()
gc.freeze()
