"""A task of the user's own: one class, and everything else knows it."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
from networks import small_network

import kerastl
from kerastl.tasks import Task, build_model, register_task, task_from_config
from kerastl.tasks.task import bind


@keras.saving.register_keras_serializable(package="tests")
class PinballLoss(keras.losses.Loss):
    """The loss that a quantile minimises (Koenker & Bassett, 1978)."""

    def __init__(
        self, shares, name="pinball", reduction="sum_over_batch_size", dtype=None
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.shares = tuple(shares)

    def call(self, y_true, y_pred):
        y_true = keras.ops.reshape(keras.ops.cast(y_true, y_pred.dtype), (-1, 1))
        shares = keras.ops.convert_to_tensor(self.shares, y_pred.dtype)
        missed = y_true - y_pred
        return keras.ops.mean(
            keras.ops.maximum(shares * missed, (shares - 1) * missed), axis=-1
        )


@dataclass
class Coverage:
    """Share of the examples below each quantile."""

    shares: dict

    def to_dict(self):
        return {"below": self.shares, "images": 0}

    def __str__(self):
        return str(self.shares)


@register_task
@dataclass(frozen=True)
class QuantileTask(Task):
    """Quantiles of a number: another loss and report, and nothing else."""

    shares: tuple[float, ...]

    name: ClassVar[str] = "quantiles"

    @property
    def units(self):
        return len(self.shares)

    def loss(self, label_smoothing=0.0):
        return PinballLoss(self.shares)

    def metrics(self):
        return []

    def check(self, targets):
        assert np.asarray(targets).reshape(len(targets), -1).shape[1] == 1

    def decode(self, outputs):
        return np.sort(np.asarray(outputs, "float64"), axis=1)

    def predictions(self, decoded, paths=None):
        return [dict(zip(self.shares, row, strict=True)) for row in decoded.tolist()]

    def report(self, targets, predictions, seconds=None):
        truth = np.reshape(targets, -1)
        below = {
            share: float(np.mean([truth <= [row[share] for row in predictions]]))
            for share in self.shares
        }
        return Coverage(below)

    def summary(self, scores):
        return f"coverage {scores['below']}"


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 2, 64)
    images = (40 + 120 * levels)[:, None, None, None] + np.zeros((64, 16, 16, 3))
    images += np.arange(64)[:, None, None, None]
    numbers = 4 * levels + rng.uniform(0, 1, 64)
    return kerastl.ImageSet(images.astype("uint8"), numbers, target_names=("y",))


def test_a_task_of_ones_own_is_built_trained_saved_and_scored(data, tmp_path):
    keras.utils.set_random_seed(0)
    task = QuantileTask((0.1, 0.9))
    model = build_model(small_network(), task, preprocessing="tf", dropout=0.0)
    phases = [
        kerastl.Phase("head", trainable="head", epochs=2, learning_rate=0.05),
        kerastl.Phase("all", trainable="all", epochs=30, learning_rate=0.02),
    ]
    history = kerastl.run_phases(model, data, data, phases=phases, seed=0, verbose=0)
    assert history.best.monitor == "val_loss"
    assert history.best.value < history.history["val_loss"][0] / 3
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = kerastl.load_model(tmp_path / "model.keras")
    assert bind(loaded).task == task
    rows = kerastl.predict(loaded, data)
    assert rows == kerastl.predict(model, data)
    assert set(rows[0]) == {0.1, 0.9}
    below = kerastl.evaluate(loaded, data).shares
    assert below[0.1] < 0.35
    assert below[0.9] > 0.65


def test_transfer_takes_a_task_of_ones_own(data, tmp_path):
    result = kerastl.transfer(
        kerastl.Splits(data.subset(np.arange(5, 64)), data.subset(np.arange(5)), None),
        task=QuantileTask((0.5,)),
        backbone=small_network(),
        preprocessing="tf",
        recipe="linear_probe",
        epochs=1,
        output=tmp_path / "run",
        verbose=0,
    )
    assert bind(result.model).task == QuantileTask((0.5,))
    assert "validation coverage" in str(result)
    assert (tmp_path / "run" / "model.keras").exists()


def test_a_registered_name_belongs_to_one_class():
    assert register_task(QuantileTask) is QuantileTask
    with pytest.raises(ValueError, match="of a new name: 'binary' is kerastl"):

        @register_task
        class Other(Task):
            name = "binary"

    with pytest.raises(ValueError, match="a class with a `name`"):

        @register_task
        class Nameless(Task):
            pass

    with pytest.raises(TypeError, match=r"subclass of kerastl\.tasks\.Task"):
        register_task(int)


def test_an_unknown_task_is_named_with_those_that_are_known():
    words = r"one of 'binary', .*'multiclass', .*Did you mean 'binary'.*import"
    with pytest.raises(ValueError, match=words):
        task_from_config({"name": "binery"})


def test_a_task_is_what_it_was_after_json():
    for task in (
        QuantileTask((0.1, 0.5)),
        task_from_config({"name": "multilabel", "class_names": ["a"]}),
    ):
        assert task_from_config(task.to_config()) == task
