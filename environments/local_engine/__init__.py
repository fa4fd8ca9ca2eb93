"""The local engine: services are processes on this machine, in a private folder. For trusted suites.

There are no images, no networks and no limits here: a service can do whatever the account that itdash runs
as may do. What it understands of a Compose file, and how, is in ``docs/environments.md``.
"""

from environments.local_engine.engine import LocalEngine

__all__ = ["LocalEngine"]
