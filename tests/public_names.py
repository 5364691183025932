"""Every public name with what it stands for: `transfer`, `plots.history`."""

import importlib
import inspect

import kerastl

NAMESPACES = kerastl._NAMESPACES
TOP = [name for name in kerastl.__all__ if name[0] != "_" and name not in NAMESPACES]


def _of(namespace):
    module = importlib.import_module(f"kerastl.{namespace}")
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    ]
    return {f"{namespace}.{name}": getattr(module, name) for name in names}


PUBLIC = {name: getattr(kerastl, name) for name in (*TOP, *kerastl._ALSO)}
for _namespace in NAMESPACES:
    PUBLIC |= _of(_namespace)
FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value)]
CLASSES = [name for name, value in PUBLIC.items() if inspect.isclass(value)]
