"""Runs that are killed and go on: the same to the bit, or a sentence why not."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest
from networks import coloured, small_classifier, values

import kerastl
from kerastl._files import OutputFolder
from kerastl.training import resume
from kerastl.training import run as run_module
from kerastl.training.checks import check_callbacks

DATA = coloured(8)
HEAD = kerastl.Phase(
    "head", trainable="head", epochs=3, learning_rate=0.05, augment=False
)
WHOLE = kerastl.Phase("all", trainable="all", epochs=3, learning_rate=0.01)
#: The script that kills itself, in the folder of the tests.
SCRIPT = Path(__file__).parents[1] / "killed_run.py"


def build(**options):
    keras.utils.set_random_seed(0)
    return small_classifier(dropout=0.3, **options)


def train(folder, *phases, model=None, **options):
    """A model trained, from what the folder holds on, and its history."""
    model = model or build()
    options = {"validation": DATA, "batch_size": 5, "seed": 3, **options}
    data = options.pop("data", DATA)
    given = {"phases": phases or [HEAD], "verbose": 0, "resume_dir": folder}
    return model, kerastl.run_phases(model, data, **given, **options)


@pytest.fixture
def each_epoch(monkeypatch):
    monkeypatch.setattr(resume, "SPARING", 0)


@pytest.fixture
def states(monkeypatch, tmp_path, each_epoch):
    """Folders with each state that a run has written, the first one first."""
    kept, write = [], resume.write_state

    def copying(path, state):
        write(path, state)
        kept.append(tmp_path / f"copy-{len(kept)}")
        kept[-1].mkdir()
        shutil.copy(path, kept[-1])

    monkeypatch.setattr(resume, "write_state", copying)
    return kept


def told(history):
    """All that a history says, but for how long it took."""
    columns = {n: c for n, c in history.history.items() if n != "seconds"}
    records = [vars(replace(record, seconds=0.0)) for record in history.phases]
    return repr([columns, records, history.best])


def assert_same(one, other):
    for a, b in zip(values(one[0]), values(other[0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert told(one[1]) == told(other[1])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes minutes")
def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_were_not(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env={**os.environ, "PYTHONPATH": f"{SCRIPT.parent}:{SCRIPT.parents[1]}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    ends = json.loads(done.stdout.splitlines()[-1])
    # The first and the last one were left alone.
    assert ends == [0, *[-9] * (len(ends) - 2), 0], done.stderr
    unbroken, killed = (tmp_path / name for name in ("unbroken", "killed"))
    for suffix in (".npz", ".json"):
        one, other = (path.with_suffix(suffix) for path in (unbroken, killed))
        assert one.read_bytes() == other.read_bytes()


def only_first(epoch, rate):
    return 0.0 if epoch else rate


KINDS = {
    "two phases": lambda: {
        "phases": [
            HEAD,
            replace(
                WHOLE,
                ema=0.8,
                schedule="cosine",
                patience=2,
                mixup=0.2,
                penalties=(kerastl.penalties.L2SP(0.1),),
            ),
        ],
        "augment": "light",
    },
    "versions of images": lambda: {
        "phases": [replace(HEAD, augment=True)],
        "augment": "light",
        "views": 2,
    },
    "rates by block": lambda: {
        "phases": [replace(WHOLE, multipliers="auto_rgn", batch_norm="train")],
        "sampling": "balanced",
    },
    "gathered gradients": lambda: {
        "phases": [
            replace(
                HEAD, optimizer=keras.optimizers.Adam(gradient_accumulation_steps=3)
            )
        ],
        "validation": None,
    },
    "another domain": lambda: {
        "phases": [
            replace(WHOLE, epochs=2, adapt=kerastl.adaptation.Adaptation("dann"))
        ],
        "target": coloured(4, seed=5),
        "batch_size": 6,
    },
    "no better result": lambda: {
        "phases": [
            HEAD,
            replace(
                HEAD,
                name="worse",
                optimizer="sgd",
                learning_rate=0.5,
                epochs=5,
                patience=2,
            ),
            replace(HEAD, name="again", epochs=1),
        ],
        "monitor": "val_loss",
    },
    "a rate of nothing": lambda: {
        "phases": [HEAD],
        "callbacks": [keras.callbacks.LearningRateScheduler(only_first)],
    },
    "callbacks": lambda: {
        "phases": [replace(HEAD, epochs=7)],
        "callbacks": [
            keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_delta=1.0),
            keras.callbacks.EarlyStopping(patience=5, min_delta=1.0),
        ],
    },
}


def run_kind(folder, kind):
    options = KINDS[kind]()
    return train(folder, *options.pop("phases"), **options)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        # The last one inside a phase is the last but one of all.
        *((kind, -2) for kind in KINDS if kind != "no better result"),
        # Between two phases.
        ("two phases", HEAD.epochs - 1),
        # When it has waited for one epoch, and when it has gone back.
        ("no better result", HEAD.epochs + 1),
        ("no better result", HEAD.epochs + 2),
    ],
)
def test_from_its_states_a_run_ends_as_it_did(tmp_path, states, kind, number):
    unbroken = run_kind(tmp_path / "whole", kind)
    assert_same(run_kind(states[number], kind), unbroken)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a run that was stopped before its end."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "SPARING", 0)
        patch.setattr(resume.States, "end_run", stop)
        with pytest.raises(KeyboardInterrupt):
            train(folder)
    return folder


def stop(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def unbroken():
    """A run of which nothing is kept."""
    return train(None)


def test_a_state_that_is_not_whole_is_passed_over(tmp_path, states, unbroken):
    # To keep states changes nothing.
    assert_same(train(tmp_path / "run"), unbroken)
    folder = states[1]  # After the second epoch.
    newest = folder / "state-1.npz"
    shutil.copy(states[2] / newest.name, newest)
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"state-1.npz in .* goes on from the one bef"):
        assert_same(train(folder), unbroken)


def test_a_single_wrong_bit_is_seen(begun, tmp_path, unbroken):
    folder = shutil.copytree(begun, tmp_path / "run")
    (folder / "state-0.npz").unlink()
    (path,) = folder.glob("*.npz")
    flipped = bytearray(path.read_bytes())
    # In the first array, behind the names.
    flipped[400] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.warns(UserWarning, match="read whole: the run begins anew"):
        assert_same(train(folder), unbroken)


def test_a_full_disk_ends_no_training(tmp_path, each_epoch, unbroken):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.warns(RuntimeWarning, match="Cannot write .*state-1") as warned:
            made = train(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.category for each in warned].count(RuntimeWarning) == 1
    assert not [*tmp_path.iterdir()]
    assert_same(made, unbroken)


def other_labels():
    images, labels = DATA
    return images, np.roll(labels, 1)


def other_images():
    images, labels = DATA
    images = images.copy()
    images[0, 0, 0, 0] ^= 1
    return images, labels


def other_weights():
    model = build()
    model.get_layer("conv2").kernel.assign(model.get_layer("conv2").kernel * 2)
    return model


@pytest.mark.parametrize(
    ("name", "phases", "options"),
    [
        (
            "learning_rate of phase 1, 'head' 0.05, not 0.02",
            {"learning_rate": 0.02},
            {},
        ),
        ("epochs of phase 1, 'head' 3, not 4", {"epochs": 4}, {}),
        (
            "another optimizer of phase 1, 'head'",
            {"optimizer": keras.optimizers.SGD()},
            {},
        ),
        ("batch_size 5, not 6", {}, {"batch_size": 6}),
        ("seed 3, not 4", {}, {"seed": 4}),
        ("sampling None, not 'balanced'", {}, {"sampling": "balanced"}),
        ("another augment", {}, {"augment": "light"}),
        ("another training data", {}, {"data": other_labels()}),
        ("another training data", {}, {"data": other_images()}),
        ("another validation data", {}, {"validation": other_images()}),
        ("number of weights", {}, {"model": "larger"}),
        ("another model or its first weights", {}, {"model": "changed"}),
        ("callbacks", {}, {"callbacks": [keras.callbacks.TerminateOnNaN()]}),
    ],
)
def test_another_run_is_refused_by_name(begun, name, phases, options):
    made = {"larger": lambda: build(extra=keras.layers.Dense(4))}
    made["changed"] = other_weights
    if "model" in options:
        options = {**options, "model": made[options["model"]]()}
    with pytest.raises(ValueError, match=rf"`resume_dir` must be .*{name}"):
        train(begun, replace(HEAD, **phases), **options)


@pytest.mark.parametrize("library", ["kerastl", "Keras"])
def test_another_version_is_refused_by_name(begun, monkeypatch, library):
    monkeypatch.setattr(sys.modules[library.lower()], "__version__", "9.9")
    with pytest.raises(ValueError, match=f"version of {library} .*, not '9.9'"):
        train(begun)


def test_a_refused_run_leaves_the_model_as_it_was(begun):
    model = build()
    before = [np.array(v) for v in model.variables]
    with pytest.raises(ValueError, match="resume_dir"):
        train(begun, model=model, seed=4)
    for was, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(was, variable)


def test_a_seed_by_chance_is_that_of_the_state(begun, tmp_path, unbroken):
    shutil.copytree(begun, tmp_path / "run")
    assert_same(train(tmp_path / "run", seed=None), unbroken)


def test_a_folder_must_be_one_of_its_own(tmp_path):
    (tmp_path / "file").write_text("")
    for place, found in (("file", "It is a file"), ("file/inside", "written to")):
        with pytest.raises(ValueError, match=rf"`resume_dir` must be a .*{found}"):
            train(tmp_path / place)
    with (
        OutputFolder(tmp_path / "run", ()),
        pytest.raises(ValueError, match="`resume_dir` must be a folder that no other"),
    ):
        train(tmp_path / "run")


class Counts(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.begun = True


def test_a_run_that_has_ended_gives_its_result_and_says_so(tmp_path):
    first = train(tmp_path, callbacks=[Counts()])
    again = Counts()
    with pytest.warns(UserWarning, match="has ended: nothing is trained any more"):
        assert_same(train(tmp_path, callbacks=[again]), first)
    assert not hasattr(again, "begun")
    # One state, without what only the next epoch needs.
    assert len([*tmp_path.glob("*.npz")]) == 1


def test_a_log_goes_on(tmp_path, states):
    def logged(folder, path):
        train(folder, callbacks=[keras.callbacks.CSVLogger(path)])
        return path.read_text().splitlines()

    path = tmp_path / "log.csv"
    whole = logged(tmp_path / "run", path)
    # The state after the second epoch; what was logged by then is there.
    path.write_text("\n".join(whole[:3]) + "\n")
    assert len(whole) == 1 + HEAD.epochs
    assert logged(states[1], path) == whole


def test_what_keras_keeps_by_itself_is_warned_of(tmp_path):
    keeps = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.warns(UserWarning, match="BackupAndRestore knows one `fit`.*resume_d"):
        check_callbacks([HEAD], [keeps])


def test_batches_of_someone_else_are_warned_of(tmp_path):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(DATA).batch(8)
    with pytest.warns(UserWarning, match="not with the same batches"):
        train(tmp_path, data=data)


def test_batches_that_were_halved_stay_so(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path / "run")
    path = max((tmp_path / "run").glob("*.npz"), key=os.path.getmtime)
    resume.write_state(path, {**resume.read_state(path), "batches": (3, 1)})
    asked = []
    monkeypatch.setattr(
        run_module, "warn_of_memory", lambda *given: asked.append(given)
    )
    model, _ = train(tmp_path / "run")
    assert asked == [(model, 3)]


def test_minutes_count_from_the_first_start(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    path = max((tmp_path / "run").glob("*.npz"), key=os.path.getmtime)
    resume.write_state(path, {**resume.read_state(path), "elapsed": 7200.0})
    _, history = train(tmp_path / "run", minutes=60)
    assert history.phases[-1].stopped == "stopped in time"


def test_states_are_written_as_seldom_as_they_are_dear(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(resume.time, "perf_counter", lambda: clock[0])
    states, written = resume.States(), []
    states.folder = tmp_path

    def costing(path, state):
        clock[0] += 2.0
        written.append(clock[0])

    monkeypatch.setattr(resume, "write_state", costing)
    for _ in range(300):
        clock[0] += 1.0
        states.write(lambda: {"number": 1})
    between = np.diff(written)
    assert len(written) == 3
    # A hundred seconds of training, then two of writing.
    assert set(between) == {102.0}
    assert 2 / between[0] <= 1 / resume.SPARING


def test_a_state_comes_back_as_it_was(tmp_path):
    shared = np.arange(3.0, dtype="float32")
    half = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    state = {
        "arrays": [shared, {"again": shared, 1: half}],
        "numbers": (1, True, None, math.inf, np.float32(0.1), np.array(7, "uint32")),
        "texts": ["a", ("b",)],
    }
    resume.write_state(tmp_path / "state.npz", state)
    found = resume.read_state(tmp_path / "state.npz")
    (first, second), numbers = found["arrays"], found["numbers"]
    assert first is second["again"] or np.shares_memory(first, second["again"])
    np.testing.assert_array_equal(first, shared)
    assert second[1].dtype == half.dtype
    np.testing.assert_array_equal(second[1], half)
    assert numbers[:4] == (1, True, None, math.inf)
    assert np.float32(numbers[4]) == np.float32(0.1)
    assert numbers[5].dtype == np.uint32
    assert found["texts"] == ["a", ("b",)]
