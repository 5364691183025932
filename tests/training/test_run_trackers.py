"""What trackers of runs see: one run over all phases, with the history's numbers."""

import csv

import keras
import numpy as np
import pytest
from networks import coloured, timid_classifier

import kerastl

DATA = coloured(4)
PHASES = [
    kerastl.Phase("one", trainable="head", epochs=2, learning_rate=0.01),
    kerastl.Phase(
        "two", trainable=1, epochs=3, learning_rate=0.001, schedule="cosine", warmup=1
    ),
]


def run(callbacks, cache):
    """Two phases of two and three epochs, of two steps each."""
    model = timid_classifier()
    options = {"batch_size": 6, "seed": 0, "monitor": "val_loss", "verbose": 0}
    options |= {"cache": cache, "callbacks": callbacks}
    return kerastl.run_phases(model, DATA, DATA, phases=PHASES, **options)


class Tracker(keras.callbacks.Callback):
    """As those of Weights & Biases and MLflow: it opens a run, logs, and closes it.

    Both read the optimizer's settings and its rate from the model.
    """

    def __init__(self):
        super().__init__()
        self.runs, self.rows, self.batches, self.names = [], [], [], []

    def on_train_begin(self, logs=None):
        self.runs.append("open")
        self.names.append(type(self.model.optimizer).__name__)

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(float(logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        assert self.runs == ["open"]
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self.rows.append({"epoch": epoch, "rate": rate, **logs})

    def on_train_end(self, logs=None):
        self.runs.append("closed")


def test_a_tracker_sees_one_run_and_the_rates_of_each_phase():
    tracker = Tracker()
    history = run([tracker], "auto")
    assert tracker.runs == ["open", "closed"] and tracker.names == ["AdamW"]
    assert [row["epoch"] for row in tracker.rows] == [0, 1, 2, 3, 4]
    assert len(tracker.batches) == 10
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        told = [row[name] for row in tracker.rows]
        np.testing.assert_allclose(told, history.history[name], rtol=1e-6)
    rates = [row["rate"] for row in tracker.rows]
    np.testing.assert_allclose(rates, history.history["learning_rate"], rtol=1e-6)
    assert rates[:2] == pytest.approx([0.01, 0.01]) and max(rates[2:]) < 0.0011
    # Who looks at the model is promised the one that trains.
    assert [record.cached for record in history.phases] == [False, False]
    assert "Tracker" in history.phases[0].cache


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_logs_alone_are_the_same_run_and_keep_caching(tmp_path, cache):
    rows = []
    history = run(
        [
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: rows.append({"epoch": epoch, **logs})
            ),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ],
        cache,
    )
    assert history.phases[0].cached == (cache == "memory")
    with (tmp_path / "log.csv").open() as file:
        logged = list(csv.DictReader(file))
    for told in (rows, logged):
        assert [int(row["epoch"]) for row in told] == [0, 1, 2, 3, 4]
        for name in ("loss", "val_loss"):
            values = [float(row[name]) for row in told]
            np.testing.assert_allclose(values, history.history[name], rtol=1e-6)


def scalars(folder):
    """Tag -> (step, value) of each scalar in the event files of a folder."""
    import tensorflow as tf

    found = {}
    files = sorted(map(str, folder.glob("events.out.tfevents.*")))
    for record in tf.data.TFRecordDataset(files):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, []).append((event.step, number))
    return found, len(files)


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_tensorboard_draws_one_curve_over_all_phases(tmp_path, cache):
    pytest.importorskip("tensorboard")  # TensorFlow 2.21 brings it no more.
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    history = run([board], cache)
    assert history.phases[0].cached == (cache == "memory")
    for part, prefix in (("train", ""), ("validation", "val_")):
        found, files = scalars(tmp_path / part)
        assert files == 1
        steps, losses = zip(*found["epoch_loss"], strict=True)
        assert steps == (0, 1, 2, 3, 4)
        expected = history.history[f"{prefix}loss"]
        np.testing.assert_allclose(losses, expected, rtol=1e-6)
    rates = [rate for _, rate in scalars(tmp_path / "train")[0]["epoch_learning_rate"]]
    np.testing.assert_allclose(rates, history.history["learning_rate"], rtol=1e-6)
