"""Namespaces whose names are imported when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    module: str, table: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a module that only collects names.

    Args:
        module: The collecting module's `__name__`.
        table: Name -> `"module"` that holds it under the same name, or
            `"module:other_name"`.
    """

    def get(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        holder, _, own = table[name].partition(":")
        value = getattr(importlib.import_module(holder), own or name)
        setattr(sys.modules[module], name, value)
        return value

    return get, lambda: sorted(table), sorted(table)
