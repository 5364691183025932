"""What a machine has for training: versions, devices, weights, known problems."""

import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import keras

from kerastl._compat import device_names, keras_home
from kerastl._tables import Tabular
from kerastl.features.store import DiskCache
from kerastl.models.backbones import backbone_table

#: What an extra of `pip install "kerastl[...]"` is for.
_EXTRAS = {
    "jax": "another backend",
    "torch": "PyTorch's arrays and loaders",
    "keras-hub": "networks of texts",
    "keras-cv": "other detectors",
    "starlette": "answers over HTTP",
    "onnxruntime": "exports",
}
#: Below it, a run of some hundred images may not find room for its features and model.
_LEAST_FREE = 2 * 2**30


@dataclass(frozen=True)
class EnvironmentReport(Tabular):
    """What `check_environment` found.

    Attributes:
        versions: Package -> its version; None where it is not installed.
        backend: Name of the backend that Keras runs on.
        devices: What it sees, as `"cpu:0"`.
        processors: CPU cores that this process may use.
        weights: Where networks come from offline: name -> `"tiny"`, `"imagenet"` or
            both; networks without any are left out.
        keras_home: Folder of downloaded weights and data.
        cache: `folder`, `entries` and `bytes` of features kept on disk.
        problems: Sentences: what is wrong, and what to do; none: nothing is known.
    """

    versions: dict[str, str | None]
    backend: str
    devices: tuple[str, ...]
    processors: int
    weights: dict[str, str]
    keras_home: str
    cache: dict[str, Any]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem is known."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, ready for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"package": name, "version": version}
            for name, version in self.versions.items()
        ]

    def _heading(self) -> str:
        return "\n".join(self.problems)

    def __str__(self) -> str:
        """A line for each thing, problems last."""
        there = [f"{name} {found}" for name, found in self.versions.items() if found]
        absent = [
            f"{name} ({_EXTRAS[name]})" if name in _EXTRAS else name
            for name, found in self.versions.items()
            if not found
        ]
        offline = [f"{name} ({kinds})" for name, kinds in self.weights.items()]
        size = self.cache["bytes"] / 2**20
        lines = [f"versions   {', '.join(there)}"]
        if absent:
            lines.append(f"absent     {', '.join(absent)}")
        lines += [
            f"backend    {self.backend} on {', '.join(self.devices)}, "
            f"{self.processors} processors",
            f"offline    {', '.join(offline)}",
            f"downloads  {self.keras_home}",
            f"cache      {self.cache['entries']} entries of features, {size:.0f} MB, "
            f"in {self.cache['folder']}",
        ]
        found = [f"problem    {each}" for each in self.problems]
        return "\n".join([*lines, *(found or ["problems   none known"])])


def check_environment() -> EnvironmentReport:
    """Look at what training needs here, before a long run or a report of a fault.

    Nothing is downloaded, and nothing is written.

    Returns:
        The report: print it, or ask `ok`.

    Example:
        >>> report = check_environment()
        >>> report.versions["keras"] == keras.__version__, report.weights["MobileNet"]
        (True, 'tiny...')
    """
    names = ("tensorflow", "keras", "numpy", "scikit-learn", *_EXTRAS)
    versions = {"python": platform.python_version(), "kerastl": _version("kerastl")}
    versions |= {name: _version(name) for name in names}
    cache, cores = DiskCache(), os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    entries = cache.entries()
    offline = {row["name"]: row["offline"] for row in backbone_table()}
    return EnvironmentReport(
        versions=versions,
        backend=keras.backend.backend(),
        devices=tuple(device_names()),
        processors=cores,
        weights={name: kinds for name, kinds in offline.items() if kinds},
        keras_home=str(keras_home()),
        cache={
            "folder": str(cache.folder),
            "entries": len(entries),
            "bytes": sum(entry.bytes for entry in entries),
        },
        problems=tuple(line for check in _CHECKS for line in check()),
    )


def _version(package: str) -> str | None:
    """The installed version, or None; a backend's CPU wheel has a name of its own."""
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _settings() -> list[str]:
    """Settings of Keras under which trained networks answer wrongly."""
    found = []
    if keras.config.image_data_format() != "channels_last":
        found.append(
            "Keras's image_data_format is 'channels_first', which these networks are "
            "not: set it to 'channels_last' in keras.json."
        )
    if keras.config.floatx() != "float32":
        found.append(
            f"Keras's floatx is {keras.config.floatx()!r}: weights are loaded, and "
            "trained, at that precision. Set it to 'float32' in keras.json, and pass "
            "precision='mixed_float16' where half precision is meant."
        )
    return found


def _chosen_backend() -> list[str]:
    """A backend that was asked for and is not in use."""
    asked, used = os.environ.get("KERAS_BACKEND"), keras.backend.backend()
    if asked and asked != used:
        return [
            f"KERAS_BACKEND is {asked!r}, and Keras runs on {used!r}: set it before "
            "Keras is imported."
        ]
    if used not in ("tensorflow", "jax"):
        return [
            f"Keras runs on {used!r}, which kerastl has not been tested on: set "
            "KERAS_BACKEND to 'tensorflow' or 'jax'."
        ]
    return []


def _ranges() -> list[str]:
    """Installed packages outside what kerastl asks for."""
    try:
        asked = requires("kerastl") or []
    except PackageNotFoundError:
        return []
    found = []
    for line in asked:
        name, _, extra = line.partition(";")
        match = re.fullmatch(r"([\w-]+)>=([\d.]+)\s*", name)
        there = match and not extra and _version(match[1])
        if there and _numbers(there) < _numbers(match[2]):
            found.append(
                f"{match[1]} is {there}, and kerastl needs {match[2]} or later: "
                f'pip install "{match[1]}>={match[2]}".'
            )
    return found


def _numbers(text: str) -> tuple[int, ...]:
    """A version's numbers, up to the first part that is none."""
    parts = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, parts[0].split("."))) if parts else ()


def _graphics_card() -> list[str]:
    """A graphics card that the backend does not see."""
    seen = any(name.startswith(("gpu", "cuda")) for name in device_names())
    if seen or shutil.which("nvidia-smi") is None:
        return []
    extra = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda12]"}
    name = extra.get(keras.backend.backend())
    hint = f' Try: pip install "{name}".' if name else ""
    return [f"There is a driver for NVIDIA cards, and the backend sees none.{hint}"]


def _room() -> list[str]:
    """Folders that must be written to, and cannot be or have no room."""
    found = []
    for what, folder in (
        ("Keras's folder", keras_home()),
        ("cache", DiskCache().folder),
    ):
        place = _existing(Path(folder))
        if not os.access(place, os.W_OK):
            found.append(
                f"The {what}, {folder}, cannot be written to: set KERAS_HOME to one "
                "that can."
            )
        elif (free := shutil.disk_usage(place).free) < _LEAST_FREE:
            found.append(
                f"Only {free / 2**30:.1f} GB are free for the {what}, {folder}: "
                "`kerastl cache clear` makes room."
            )
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _keras_json() -> list[str]:
    """A settings file that Keras reads without a word where it is no JSON."""
    path = keras_home() / "keras.json"
    try:
        read = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        return [f"{path} cannot be read, and Keras ignores it: {error}."]
    if not isinstance(read, Mapping):
        return [f"{path} is no JSON object, and Keras ignores it."]
    return []


_CHECKS: tuple[Callable[[], list[str]], ...] = (
    _settings,
    _chosen_backend,
    _ranges,
    _graphics_card,
    _keras_json,
    _room,
)
