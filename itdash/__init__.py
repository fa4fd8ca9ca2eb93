"""itdash: wiring only. Settings, URLs, Celery, the command line and the embedded servers."""
