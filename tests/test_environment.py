"""What `kerastl doctor` says of a machine, and each problem that it knows."""

import json
import os
import shutil
from collections import namedtuple

import keras
import numpy as np
import pytest

import kerastl
from kerastl import environment
from kerastl.features.store import DiskCache


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder of Keras's, with room."""
    monkeypatch.setattr(environment, "keras_home", lambda: tmp_path)
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path / "features"))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return tmp_path


def test_a_sound_machine_is_told(home):
    store = DiskCache()
    store.store("key", (2, 3), "float32", [np.ones((2, 3), "float32")])
    report = kerastl.check_environment()
    assert report.problems == () and report.ok
    assert report.versions["keras"] == keras.__version__
    assert report.versions["numpy"] == np.__version__
    assert report.backend == keras.backend.backend()
    assert "tiny" in report.weights["MobileNet"]
    assert {"MiniText", "MiniGPT"} <= set(report.weights)
    size = sum(
        path.stat().st_size for path in store.folder.rglob("*") if path.is_file()
    )
    assert report.cache == {"folder": str(store.folder), "entries": 1, "bytes": size}
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert str(report).endswith("problems   none known")


def test_nothing_is_written(home):
    kerastl.check_environment()
    assert list(home.iterdir()) == []


def only_problem():
    (problem,) = kerastl.check_environment().problems
    return problem


def test_settings_of_keras_that_harm(home, monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    assert "'channels_last' in keras.json" in only_problem()
    monkeypatch.undo()
    monkeypatch.setattr(environment, "keras_home", lambda: home)
    monkeypatch.setattr(keras.config, "floatx", lambda: "float16")
    assert any("floatx is 'float16'" in e for e in environment._settings())


def test_a_backend_that_is_not_the_one_asked_for(home, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    assert "KERAS_BACKEND is 'nonsense'" in only_problem()
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    assert kerastl.check_environment().ok


def test_a_package_that_is_too_old(home, monkeypatch):
    lines = ["keras>=99.1", "numpy>=1.2", 'jax>=99; extra == "jax"', "odd package"]
    monkeypatch.setattr(environment, "requires", lambda name: lines)
    assert 'pip install "keras>=99.1"' in only_problem()


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.18.0rc1", (2, 18, 0)), ("3", (3,)), ("x", ())]
)
def test_versions_are_compared_by_their_numbers(version, numbers):
    assert environment._numbers(version) == numbers


def test_a_card_that_the_backend_does_not_see(home, monkeypatch):
    monkeypatch.setattr(environment, "device_names", lambda: ["cpu:0"])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "driver for NVIDIA cards" in only_problem()
    monkeypatch.setattr(environment, "device_names", lambda: ["gpu:0"])
    assert kerastl.check_environment().ok


@pytest.mark.parametrize("text", ["{not json", "[1]"])
def test_a_settings_file_that_keras_ignores(home, text):
    (home / "keras.json").write_text(text)
    assert "keras.json" in only_problem() and "Keras ignores it" in only_problem()


def test_folders_without_room_or_leave_to_write(home, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 8, 1))
    first, second = kerastl.check_environment().problems
    assert "0.0 GB are free" in first and "`kerastl cache clear`" in second
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    first, second = kerastl.check_environment().problems
    assert "cannot be written to: set KERAS_HOME" in first


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(home):
    assert environment._existing(home / "a" / "b") == home
