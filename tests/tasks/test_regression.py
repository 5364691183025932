"""Regression: targets scaled inside the model, results in the user's units."""

import keras
import numpy as np
import pytest
from networks import outputs, small_network, values
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import kerastl
from kerastl.tasks import RegressionTask, build_model

AGES = np.array([20.0, 25.0, 30.0, 45.0, 80.0, 61.0, 33.0, 52.0])
PAIRS = np.stack([AGES, 3000.0 - 7 * AGES], axis=1)
RNG = np.random.default_rng(0)
HEAD = kerastl.Phase("head", trainable="head", epochs=2, learning_rate=0.01)


def gray(levels, size=16):
    """Images as bright as the numbers say, from 20 to 235."""
    levels = np.asarray(levels, float)
    scaled = 20 + 215 * (levels - levels.min()) / np.ptp(levels)
    noise = np.random.default_rng(1).normal(0, 3, (len(levels), size, size, 3))
    return np.clip(scaled[:, None, None, None] + noise, 0, 255).astype("uint8")


def regressor(targets=AGES, **options):
    options = {"dropout": 0.0, "preprocessing": "tf", **options}
    return kerastl.build_regressor(small_network(), targets, **options)


def ages(count=40, seed=0):
    numbers = np.random.default_rng(seed).uniform(20, 80, count)
    return kerastl.ImageSet(gray(numbers), numbers, target_names=("age",))


def test_a_new_model_predicts_the_mean_in_the_users_units():
    model = regressor(PAIRS, names=("age", "price"))
    found = kerastl.predict(model, gray(AGES))
    expected = np.broadcast_to(PAIRS.mean(axis=0), (8, 2))
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


@pytest.mark.parametrize("targets", [AGES, AGES[:, None], PAIRS, AGES.astype(int)])
def test_the_first_loss_is_the_variance_in_standard_units(targets):
    model = regressor(targets)
    found = model.evaluate(gray(AGES), targets, batch_size=8, verbose=0)
    assert found[0] == pytest.approx(1.0, rel=1e-4)
    assert found[0] == pytest.approx(model_task(model).chance_loss, rel=1e-4)


def model_task(model):
    from kerastl.tasks.task import bind

    return bind(model).task


def test_the_loss_is_the_squared_error_over_the_variance():
    task = RegressionTask.from_targets(PAIRS)
    made = RNG.normal(size=(8, 2)) * PAIRS.std(axis=0) + PAIRS.mean(axis=0)
    by_hand = np.mean(((made - PAIRS) / PAIRS.std(axis=0)) ** 2)
    found = task.loss()(PAIRS.astype("float32"), made.astype("float32"))
    assert float(found) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("flat", [True, False])
def test_metrics_are_those_of_scikit_learn(flat):
    made = AGES + RNG.normal(0, 5, 8)
    truth = AGES if flat else AGES[:, None]
    found = {}
    for metric in RegressionTask.from_targets(AGES).metrics():
        metric.update_state(truth.astype("float32"), made[:, None].astype("float32"))
        found[metric.name] = float(metric.result())
    expected = {
        "mae": mean_absolute_error(AGES, made),
        "mse": mean_squared_error(AGES, made),
        "r2": r2_score(AGES, made),
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_report_is_scikit_learns_with_intervals_around():
    task = RegressionTask.from_targets(PAIRS, ("age", "price"), "units")
    made = PAIRS + RNG.normal(0, 5, PAIRS.shape)
    report = task.report(PAIRS, task.predictions(made), seconds=0.5)
    for column, row in enumerate(report.per_target):
        truth, guess = PAIRS[:, column], made[:, column]
        assert row.mse == pytest.approx(mean_squared_error(truth, guess))
        assert row.mae == pytest.approx(mean_absolute_error(truth, guess))
        assert row.r2 == pytest.approx(r2_score(truth, guess))
        assert row.baseline == pytest.approx(truth.var())
        for name in ("mse", "mae", "r2"):
            low, high = getattr(row, f"{name}_interval")
            assert low < getattr(row, name) < high
    assert report.r2 == pytest.approx(r2_score(PAIRS, made))
    assert "price (units)" in str(report)
    assert report.to_dict()["per_target"][1]["name"] == "price"


def test_the_bootstrap_interval_narrows_with_the_number_of_examples():
    widths = []
    for count in (50, 5000):
        truth = RNG.normal(size=count)
        task = RegressionTask.from_targets(truth)
        row = task.report(truth, task.predictions((truth + 1)[:, None] * 1.1))
        low, high = row.per_target[0].mae_interval
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.5)


@pytest.mark.parametrize("equal", [np.full(3, 7.0), np.full(80, 0.1)])
def test_r2_of_equal_targets_is_unknown(equal):
    task = RegressionTask.from_targets(AGES)
    report = task.report(equal, task.predictions(np.ones((len(equal), 1))))
    assert report.r2 is None
    assert report.per_target[0].r2_interval is None
    assert "-" in str(report)


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (np.full(4, 2.0), {}, "numbers that differ.*nothing to learn"),
        (np.full(80, 0.1), {}, "numbers that differ.*nothing to learn"),
        ([1.0, np.nan], {}, "finite numbers.*1 that are nan"),
        (np.ones((2, 2, 2)), {}, r"of shape \(n,\) or \(n, targets\)"),
        ([], {}, "at least two numbers"),
        (AGES, {"names": ("a", "b")}, "1 names, one a column"),
    ],
)
def test_targets_that_cannot_be_learnt_are_named(targets, options, words):
    with pytest.raises(ValueError, match=words):
        RegressionTask.from_targets(targets, **options)


def test_words_are_no_targets():
    with pytest.raises(TypeError, match="`targets` must be numbers"):
        RegressionTask.from_targets(["young", "old"])


def test_training_lowers_the_error_and_keeps_the_best_epoch():
    train, validation = ages(48), ages(16, seed=1)
    model = kerastl.build_regressor(
        small_network(), train, preprocessing="tf", dropout=0.0, unit="years"
    )
    before = kerastl.evaluate(model, validation)
    phases = [kerastl.Phase("all", trainable="all", epochs=12, learning_rate=0.02)]
    history = kerastl.run_phases(model, train, validation, phases=phases, seed=0)
    after = kerastl.evaluate(model, validation)
    assert after.mae < before.mae / 2
    assert history.best.monitor == "val_loss"
    assert history.best.value == min(history.history["val_loss"])
    assert {"val_mae", "val_mse", "val_r2"} <= set(history.history)
    # The best epoch's error is that of the model as it is now.
    best = history.history["val_mae"][history.best.epoch]
    assert after.mae == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("load", [kerastl.load_model, keras.models.load_model])
def test_scale_names_and_unit_survive_the_file(load, tmp_path):
    model = regressor(PAIRS, names=("age", "price"), unit="x")
    dense = model.get_layer("head_dense")
    dense.set_weights([RNG.normal(size=dense.kernel.shape), np.zeros(2)])
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        outputs(loaded, gray(AGES)), outputs(model, gray(AGES))
    )
    assert model_task(loaded) == model_task(model)
    assert model_task(loaded).unit == "x"


def test_predictions_iterate_with_their_names():
    found = kerastl.predict(regressor(PAIRS, names=("age", "price")), gray(AGES))
    row = next(iter(found))
    assert list(row) == ["path", "age", "price"]
    assert row["price"] == pytest.approx(PAIRS[:, 1].mean(), rel=1e-6)
    assert len(found) == 8


def test_one_name_may_be_given_as_a_text():
    model = regressor(ages(), names="years")
    assert kerastl.predict(model, ages(2)).target_names == ("years",)


def test_views_are_averaged():
    model = regressor()
    dense = model.get_layer("head_dense")
    dense.set_weights([RNG.normal(size=dense.kernel.shape), np.zeros(1)])
    images = RNG.integers(0, 256, (3, 16, 16, 3)).astype("uint8")
    plain, mirror = (
        kerastl.predict(model, kind).values for kind in (images, images[:, :, ::-1])
    )
    found = kerastl.predict(model, images, views=2).values
    np.testing.assert_allclose(found, (plain + mirror) / 2, rtol=1e-4)


def test_a_set_in_another_order_of_columns_is_scored_by_name():
    model = regressor(PAIRS, names=("age", "price"))
    swapped = kerastl.ImageSet(
        gray(AGES), PAIRS[:, ::-1], target_names=("price", "age")
    )
    report = kerastl.evaluate(model, swapped)
    assert report.per_target[0].mse == pytest.approx(AGES.var(), rel=1e-4)
    with pytest.raises(ValueError, match="the model's numbers in order"):
        kerastl.run_phases(model, swapped, phases=[HEAD])


def test_arrays_and_image_sets_train_alike():
    numbers = ages(24)
    trained = []
    for data in (numbers, (numbers.images, numbers.labels), (numbers.images, AGES3)):
        keras.utils.set_random_seed(0)
        model = regressor(numbers)
        phases = [HEAD]
        kerastl.run_phases(model, data, phases=phases, batch_size=8, seed=0)
        trained.append(values(model))
    for other in trained[1:]:
        np.testing.assert_array_equal(trained[0][-2], other[-2])


AGES3 = ages(24).labels[:, 0].tolist()


def test_what_only_classes_have_is_refused_in_one_sentence():
    train = ages(24)
    model = regressor(train)
    with pytest.raises(ValueError, match="must be a classifier, whose prob"):
        kerastl.calibrate(model, train)
    with pytest.raises(ValueError, match="one class an image"):
        kerastl.fine_tune(model, train, recipe="linear_probe", class_weight="balanced")
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 for numbers"):
        kerastl.fine_tune(model, train, recipe="linear_probe", label_smoothing=0.1)
    with pytest.raises(ValueError, match="`model` must be a classifier"):
        kerastl.class_names(model)
    with pytest.raises(ValueError, match="images with one label each"):
        kerastl.advise(train, "MobileNet", weights="tiny")
    with pytest.raises(ValueError, match="model's numbers"):
        kerastl.evaluate(
            model, kerastl.ImageSet(gray(AGES), np.arange(8) % 2, ("a", "b"))
        )


def test_transfer_reads_the_task_off_the_data(tmp_path):
    result = kerastl.transfer(
        kerastl.Splits(ages(40), ages(12, seed=1), None),
        alpha=0.25,
        image_size=32,
        recipe="linear_probe",
        epochs=2,
        output=tmp_path / "run",
        verbose=0,
    )
    scores = result.report["validation"]
    assert scores["task"] == "regression"
    assert scores["images"] == 12
    assert "validation age off by" in str(result)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.keras", "report.json", "scatter.png"} <= names
    loaded = kerastl.load_model(tmp_path / "run" / "model.keras")
    report = kerastl.evaluate(loaded, ages(12, seed=1))
    assert report.mae == pytest.approx(scores["mae"], rel=1e-4)


def test_build_model_takes_a_ready_task():
    task = RegressionTask(("age",), (40.0,), (10.0,), "years")
    model = build_model(small_network(), task, preprocessing="tf")
    assert kerastl.predict(model, gray(AGES)).values[0, 0] == pytest.approx(40.0)
    with pytest.raises(ValueError, match="`scale` must be above 0"):
        RegressionTask(("age",), (40.0,), (0.0,))
