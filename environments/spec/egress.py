"""``x-itdash.egress``: whether services reach anything outside of their environment. Plain."""

from __future__ import annotations

from environments.spec.building import Teller
from environments.spec.source import Map, nearest

_ALLOWED = "allowed"
_NONE = "none"


def reaches_out(tree: Map, tell: Teller) -> bool:
    """What the file says of all its services; yes unless it says no, for suites fetch packages."""
    extension = tree.get("x-itdash")
    asked = extension.get("egress", _ALLOWED) if isinstance(extension, Map) else _ALLOWED
    if asked not in {_ALLOWED, _NONE} and isinstance(extension, Map):
        message = f"x-itdash.egress must be `{_ALLOWED}` or `{_NONE}`, not {asked!r}"
        mend = nearest(str(asked), (_ALLOWED, _NONE))
        tell.problem(message, "x-itdash.egress", extension.place("egress"), mend)
    if asked == _NONE:
        tell.note("x-itdash.egress is none: services reach each other and the control API, nothing outside.")
    return bool(asked != _NONE)
