"""The same weights at another image size, and the size at which they answer best."""

import json

import keras
import numpy as np
import pytest
from networks import outputs, pixels, small_network

import kerastl
from kerastl.data.sets import Splits
from kerastl.data.splitting import split_set
from kerastl.models.adapting import adapt_backbone
from kerastl.models.record import read_record
from kerastl.selection import choose_image_size
from kerastl.selection import image_size as module
from kerastl.tasks import MulticlassTask


def classifier(size=32, seed=0):
    """A network of random weights whose head answers something."""
    keras.utils.set_random_seed(seed)
    backbone = adapt_backbone(small_network(size=size), preprocessing="tf")
    model = kerastl.build_classifier(backbone, ["a", "b", "c"])
    dense = model.get_layer("head_dense")
    kernel = np.random.default_rng(seed).normal(size=dense.kernel.shape)
    dense.set_weights([kernel.astype("float32"), np.zeros(3, "float32")])
    return model


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture(scope="module")
def images():
    labels = np.array([0, 1, 2] * 4)
    return kerastl.ImageSet(pixels(12, 40), labels, ("a", "b", "c"))


def test_the_copy_is_the_network_built_at_that_size_with_these_weights(model):
    before = outputs(model, pixels(2, 32))
    copy = kerastl.with_image_size(model, 48)
    built = classifier(48, seed=1)
    built.set_weights(model.get_weights())
    shown = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype("uint8")
    np.testing.assert_allclose(outputs(copy, shown), outputs(built, shown), atol=1e-5)
    record = read_record(copy)
    assert (record.image_size, record.trained_size) == ((48, 48), (32, 32))
    assert read_record(model).trained_size is None
    assert read_record(kerastl.with_image_size(copy, 64)).trained_size == (32, 32)
    np.testing.assert_array_equal(outputs(model, pixels(2, 32)), before)


def test_the_copy_shares_no_weight_and_keeps_what_trains(model):
    kerastl.unfreeze(model, 1)
    copy = kerastl.with_image_size(model, 48)
    names = [v.path for v in model.trainable_variables]
    assert [v.path for v in copy.trainable_variables] == names
    kept = model.get_weights()
    copy.set_weights([array + 1 for array in kept])
    for array, now in zip(kept, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, now)
    kerastl.freeze(model)


def test_a_file_keeps_both_sizes(model, tmp_path):
    copy = kerastl.with_image_size(model, 48)
    kerastl.save_model(copy, tmp_path / "larger.keras")
    loaded = kerastl.load_model(tmp_path / "larger.keras")
    record = read_record(loaded)
    assert (record.image_size, record.trained_size) == ((48, 48), (32, 32))
    image = pixels(1, 90)
    np.testing.assert_allclose(
        kerastl.predict(loaded, image).probabilities,
        kerastl.predict(copy, image).probabilities,
        atol=1e-6,
    )


def test_the_loss_at_each_size_is_that_of_evaluate(model, images):
    choice = choose_image_size(model, images, sizes=[40, (48, 32)])
    assert list(choice.losses) == [(32, 32), (40, 40), (48, 32)]
    for size, loss in choice.losses.items():
        at = kerastl.with_image_size(model, size)
        wanted = kerastl.evaluate(at, images).metrics["log_loss"]
        assert loss == pytest.approx(wanted, rel=1e-5)
    assert read_record(choice.model).image_size == choice.image_size
    said = kerastl.predict(choice.model, images).probabilities
    np.testing.assert_allclose(choice.predictions.probabilities, said, atol=1e-6)
    assert choice.store.image_size == choice.image_size
    assert str(choice).count("*") == 1


class Said:
    """Probabilities under which the images have these losses."""

    def __init__(self, losses, labels):
        right = np.exp(-np.asarray(losses))
        self.probabilities = np.tile((1 - right[:, None]) / 2, (1, 3))
        self.probabilities[np.arange(len(labels)), labels] = right


def stand_in(monkeypatch, losses):
    """Each side has the losses of `losses`, a number or one an image."""

    def fake(bound, images, store, progress):
        size = bound.record.image_size
        each = np.broadcast_to(losses[size[0]], len(images))
        said = Said(each, images.labels)
        return module.SizeChoice(
            bound.model, size, {size: each.mean()}, None, said, None
        )

    monkeypatch.setattr(module, "_scored_at", fake)


@pytest.mark.parametrize(
    ("losses", "tried", "best"),
    [
        ({32: 1.0, 40: 0.8, 48: 0.9}, [32, 40, 48], 40),
        ({32: 1.0, 40: 0.8, 48: 0.7}, [32, 40, 48], 48),
        # Worse a step up says nothing of the next.
        ({32: 0.5, 40: 0.8, 48: 0.4}, [32, 40, 48], 48),
        ({64: 0.5, 72: 0.4, 80: 0.8, 96: 0.9}, [64, 72, 80, 96], 72),
        ({64: 0.5, 72: 0.5, 80: 0.5, 96: 0.5}, [64, 72, 80, 96], 64),
    ],
)
def test_the_size_of_least_loss_is_taken(monkeypatch, images, losses, tried, best):
    stand_in(monkeypatch, losses)
    choice = choose_image_size(classifier(tried[0]), images)
    assert list(choice.losses) == [(side, side) for side in tried]
    assert choice.image_size == (best, best)


@pytest.mark.parametrize("wins", [True, False])
def test_a_size_wins_by_more_than_a_standard_error(model, monkeypatch, images, wins):
    # Gains of 1 and -1 in turn: of twelve the standard error is 12 ** 0.5 / 11 ** 0.5
    # / 12 ** 0.5 = 0.3015, which a mean of 0.31 passes and one of 0.29 does not.
    gains = np.tile([1.0, -1.0], 6) + (0.31 if wins else 0.29)
    stand_in(monkeypatch, {32: 2.0, 40: 2.0 - gains})
    choice = choose_image_size(model, images, sizes=[40])
    assert choice.image_size == ((40, 40) if wins else (32, 32))
    assert choice.losses[(40, 40)] < choice.losses[(32, 32)]


@pytest.mark.parametrize(("spread", "best"), [(1.0, 48), (4.0, 40)])
def test_each_size_is_compared_with_the_models_own(
    model, monkeypatch, images, spread, best
):
    # The larger gains 0.9 over the own size, 0.3 over the next; of twelve gains of
    # `spread` in turn the standard error is spread / 11 ** 0.5: 0.302 or 1.2.
    large = 5.0 - (0.9 + spread * np.tile([1.0, -1.0], 6))
    stand_in(monkeypatch, {32: 5.0, 40: 4.4, 48: large})
    choice = choose_image_size(model, images, sizes=[40, 48])
    assert choice.losses[(48, 48)] < choice.losses[(40, 40)]
    assert choice.image_size == (best, best)


def test_a_network_of_one_size_stays_as_it_is(images):
    x = keras.Input((32, 32, 3))
    y = keras.layers.Conv2D(2, 3, strides=4)(x)
    y = keras.layers.Dense(3)(keras.layers.Flatten()(y))
    own = kerastl.adapt_model(
        keras.Model(x, y), ("a", "b", "c"), task="multiclass", preprocessing="tf"
    )
    with pytest.warns(UserWarning, match="No other image size was tried"):
        choice = choose_image_size(own, images)
    assert choice.model is own
    with pytest.raises(ValueError, match="image_size"):
        choose_image_size(own, images, sizes=[40])


def test_numbers_stay_at_their_size(images):
    backbone = adapt_backbone(small_network(size=32), preprocessing="tf")
    regressor = kerastl.build_regressor(backbone, np.array([1.0, 2.0, 4.0]))
    with pytest.raises(ValueError, match="a classifier"):
        choose_image_size(regressor, images)


def test_a_run_ends_at_the_best_size(tmp_path, monkeypatch, images):
    # The larger, the better.
    monkeypatch.setattr(
        module,
        "_losses",
        lambda scores, images: 1 / scores.image_size[0] + 0 * images.labels,
    )
    monkeypatch.setattr(module, "_is_more_than_chance", lambda gains: gains.mean() > 0)
    backbone = adapt_backbone(small_network(size=32), preprocessing="tf")
    given = {"backbone": backbone, "recipe": "linear_probe", "epochs": 1}
    data = kerastl.ImageSet(
        np.concatenate([images.images] * 4), np.tile(images.labels, 4), ("a", "b", "c")
    )
    data.images[:, 0, 0, 0] = np.arange(len(data))
    given |= {"output": tmp_path / "run"}
    data = Splits(*split_set(data, validation=0.25, test=0.25, seed=0))
    result = kerastl.transfer(data, **given)
    assert read_record(result.model).image_size == (48, 48)
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["settings"]["image_size"] == [32, 32]
    assert [row["image_size"][0] for row in report["image_sizes"]] == [32, 40, 48]
    loaded = kerastl.load_model(tmp_path / "run" / "model.keras")
    for part in ("validation", "test"):
        scores = kerastl.evaluate(loaded, getattr(result.splits, part))
        wanted = report[part]["metrics"]["log_loss"]
        assert scores.metrics["log_loss"] == pytest.approx(wanted, rel=1e-4)
    plain = kerastl.transfer(data, **given | {"output": None, "best_size": False})
    assert read_record(plain.model).image_size == (32, 32)
    assert plain.report["image_sizes"] is None


def test_only_classification_compares_sizes():
    assert MulticlassTask.any_size
    assert not kerastl.tasks.RegressionTask.any_size
