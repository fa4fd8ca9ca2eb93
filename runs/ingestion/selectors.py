"""How a test's tool is told to run that test, from what its report said of it."""

from __future__ import annotations

from functools import lru_cache


def selector(*, class_name: str, name: str, file: str = "") -> str:
    """Return pytest's node id where the file tells one, else the class's name, a dot and the test's name.

    `name` is whole, with its parameters: `tests/test_orders.py::TestRefund::test_twice[eur]` and
    `com.shop.OrderTest.refunds`.
    """
    if file.endswith(".py"):
        return "::".join([file, *_classes(class_name, file), name])
    return f"{class_name}.{name}" if class_name else name


@lru_cache(maxsize=4096)
def _classes(class_name: str, file: str) -> list[str]:
    """What stands behind the module's name: pytest writes `tests.test_orders.TestRefund`."""
    module = file.removesuffix(".py").rpartition("/")[2]
    parts = class_name.split(".")
    places = [place for place, part in enumerate(parts) if part == module]
    return parts[places[-1] + 1 :] if places else []
