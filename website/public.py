"""Public names where users find them: `kerastl.plots.history`, not its module."""

import sys
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from public_names import PUBLIC  # noqa: E402


class PublicNames(griffe.Extension):
    """Adds what `kerastl` imports when it is first used, which no parser sees."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Add the public names to the package just read."""
        if pkg.name != "kerastl":
            return
        for name, value in PUBLIC.items():
            namespace, _, own = name.rpartition(".")
            if namespace and namespace not in pkg.members:
                pkg.set_member(namespace, griffe.Module(namespace, parent=pkg))
            room = pkg[namespace] if namespace else pkg
            target = f"{value.__module__}.{value.__qualname__}"
            if target != f"kerastl.{name}":
                room.set_member(own, griffe.Alias(own, target))

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Call examples as the reader of docstrings knows them."""
        if obj.docstring:
            value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = value
