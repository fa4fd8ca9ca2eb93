"""The ASGI application."""

import gc
import os

from django.core.asgi import get_asgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "itdash.settings")
application = get_asgi_application()
# Everything that pages are made by is loaded here, and stays: looking through it for garbage again and again
# made one request in some dozens take a tenth of a second longer.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
