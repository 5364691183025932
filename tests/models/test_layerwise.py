"""Each variable steps and decays as under a plain optimizer at its own rate."""

import inspect
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import optimizers
from networks import coloured, small_classifier, values

import kerastl
from kerastl.models.optimizers import (
    LayerwiseOptimizer,
    RateTable,
    VariableRate,
    current_multipliers,
    find_layerwise,
    with_rates,
)
from kerastl.tasks.compiling import compile_model

RATE = 0.125
OPTIMIZERS = {
    "sgd": (optimizers.SGD, {}),
    "momentum": (optimizers.SGD, {"momentum": 0.5, "nesterov": True}),
    "adam": (optimizers.Adam, {"amsgrad": True}),
    "adamw": (optimizers.AdamW, {}),
    "nadam": (optimizers.Nadam, {}),
    "rmsprop": (optimizers.RMSprop, {"momentum": 0.5, "centered": True}),
    "adagrad": (optimizers.Adagrad, {}),
    "adadelta": (optimizers.Adadelta, {}),
    "adamax": (optimizers.Adamax, {}),
    "ftrl": (optimizers.Ftrl, {}),
    "lion": (optimizers.Lion, {}),
    "lamb": (optimizers.Lamb, {}),
    "adafactor": (optimizers.Adafactor, {}),
    "muon": (optimizers.Muon, {}),
}
if hasattr(optimizers, "ScheduleFreeAdamW"):
    OPTIMIZERS["schedule-free"] = (optimizers.ScheduleFreeAdamW, {"warmup_steps": 2})
OLD_MUON = not hasattr(optimizers, "MultiOptimizer")
LINEAR = sorted(set(OPTIMIZERS) - {"ftrl", "adafactor"})


def make(name, rate=RATE, **options):
    kind, settings = OPTIMIZERS[name]
    if name == "muon" and OLD_MUON and keras.backend.backend() == "tensorflow":
        pytest.skip("Muon of this Keras cannot step on TensorFlow")
    return kind(rate, **{**settings, **options})


def two_variables():
    """A matrix and a vector of known values."""
    matrix = np.linspace(-1.0, 1.0, 6).reshape(3, 2)
    return [
        keras.Variable(matrix.astype("float32"), name="kernel"),
        keras.Variable(np.array([0.5, -0.25], "float32"), name="bias"),
    ]


def gradients(steps=3):
    rng = np.random.default_rng(0)
    return [
        [rng.normal(size=(3, 2)).astype("float32"), rng.normal(size=2).astype("f4")]
        for _ in range(steps)
    ]


def stepped(optimizer, variables, steps=3):
    """The variables' values after some steps."""
    optimizer.build(variables)
    for pair in gradients(steps):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in pair])
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def plain(name, rate=RATE, steps=3, **options):
    return stepped(make(name, rate, **options), two_variables(), steps)


def layerwise(name, multipliers, rate=RATE, steps=3, **options):
    variables = two_variables()
    pairs = zip(variables, multipliers, strict=True)
    return stepped(with_rates(make(name, rate, **options), pairs), variables, steps)


def test_every_optimizer_of_keras_is_tried():
    found = {
        kind
        for kind in vars(optimizers).values()
        if inspect.isclass(kind) and issubclass(kind, optimizers.Optimizer)
    }
    tried = {kind for kind, _ in OPTIMIZERS.values()}
    left = {kind.__name__ for kind in found - tried}
    assert left <= {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_multipliers_of_one_change_no_bit(name):
    expected = plain(name, weight_decay=0.1)
    for old, new in zip(
        expected, layerwise(name, (1.0, 1.0), weight_decay=0.1), strict=True
    ):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_variable_trains_as_at_its_own_rate(name):
    options = {"weight_decay": 0.1}
    if name == "muon" and not OLD_MUON:
        options["adam_weight_decay"] = 0.1
    assert_own_rates(name, options)


@pytest.mark.parametrize(
    "options",
    [
        {"use_ema": True, "ema_overwrite_frequency": 2},
        {"gradient_accumulation_steps": 2},
        {"clipnorm": 0.5},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("name", ["momentum", "adamw", "nadam"])
def test_what_else_an_optimizer_does_goes_on(name, options):
    assert_own_rates(name, options)


def assert_own_rates(name, options):
    """Each variable ends where a plain optimizer at its rate takes it."""
    slow, _ = plain(name, RATE / 4, **options)
    _, quick = plain(name, RATE * 2, **options)
    found = layerwise(name, (0.25, 2.0), **options)
    np.testing.assert_allclose(found[0], slow, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[1], quick, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LINEAR)
def test_a_first_step_is_as_long_as_its_multiplier_says(name):
    before = [np.array(v) for v in map(keras.ops.convert_to_numpy, two_variables())]
    options = {"weight_decay": 0.0}
    full = plain(name, steps=1, **options)
    found = layerwise(name, (0.5, 0.1), steps=1, **options)
    for start, one, part, multiplier in zip(
        before, full, found, (0.5, 0.1), strict=True
    ):
        np.testing.assert_allclose(
            part - start, multiplier * (one - start), rtol=1e-4, atol=1e-6
        )


def test_sgd_steps_are_exactly_proportional():
    variables = [keras.Variable(np.zeros(2, "float32"), name=f"v{i}") for i in range(3)]
    multipliers = (0.01, 0.1, 1.0)
    rule = with_rates(optimizers.SGD(RATE), zip(variables, multipliers, strict=True))
    gradient = np.array([1.0, -3.0], "float32")
    rule.build(variables)
    rule.apply([keras.ops.convert_to_tensor(gradient)] * 3)
    for variable, multiplier in zip(variables, multipliers, strict=True):
        by_hand = -gradient * (np.float32(RATE) * np.float32(multiplier))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), by_hand)


def test_adams_first_step_is_the_rate_times_the_multiplier():
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in two_variables()]
    found = layerwise("adam", (0.1, 0.01), steps=1)
    for start, end, multiplier in zip(before, found, (0.1, 0.01), strict=True):
        np.testing.assert_allclose(abs(end - start), RATE * multiplier, rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_decay_is_scaled_as_steps_are(name):
    variables = two_variables()
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    rule = with_rates(
        make(name, weight_decay=0.1), zip(variables, (0.5, 0.0), strict=True)
    )
    rule.build(variables)
    rule.apply([keras.ops.zeros(v.shape) for v in variables])
    after = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    np.testing.assert_allclose(after[0], before[0] * (1 - 0.5 * RATE * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"ftrl", "schedule-free"}))
def test_zero_leaves_the_bits(name):
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in two_variables()]
    found = layerwise(name, (0.0, 1.0), weight_decay=0.1)
    np.testing.assert_array_equal(found[0], before[0])
    assert (found[1] != before[1]).all()


def test_clipping_by_the_global_norm_sees_the_raw_gradients():
    variables = [keras.Variable(np.zeros(1, "float32"), name=f"v{i}") for i in range(2)]
    rule = with_rates(
        optimizers.SGD(1.0, global_clipnorm=1.0),
        zip(variables, (0.0, 0.5), strict=True),
    )
    rule.build(variables)
    rule.apply([keras.ops.convert_to_tensor([g]) for g in (3.0, 4.0)])
    found = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
    np.testing.assert_allclose(found, [0.0, -0.5 * 4 / 5], rtol=1e-6)


def test_a_schedule_keeps_the_ratios():
    schedule = optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.25])
    variables = [keras.Variable(np.zeros(1, "float32"), name=f"v{i}") for i in range(2)]
    rule = with_rates(optimizers.SGD(schedule), zip(variables, (0.5, 1.0), strict=True))
    rule.build(variables)
    for total in ([-0.5, -1.0], [-0.625, -1.25]):
        rule.apply([keras.ops.ones(1)] * 2)
        found = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
        np.testing.assert_array_equal(found, total)


def test_there_is_still_one_learning_rate_to_set():
    variables = [keras.Variable(np.zeros(1, "float32"), name=f"v{i}") for i in range(2)]
    rule = with_rates(optimizers.SGD(1.0), zip(variables, (0.5, 1.0), strict=True))
    rule.build(variables)
    rule.learning_rate = 0.25
    rule.apply([keras.ops.ones(1)] * 2)
    assert float(rule.learning_rate) == 0.25
    found = [float(keras.ops.convert_to_numpy(v)[0]) for v in variables]
    np.testing.assert_array_equal(found, [-0.125, -0.25])


def test_exemptions_from_decay_are_copied():
    variables = two_variables()
    pattern = optimizers.SGD(RATE, weight_decay=0.1)
    pattern.exclude_from_weight_decay(var_list=variables[1:])
    rule = with_rates(pattern, [(v, 1.0) for v in variables])
    rule.build(variables)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    rule.apply([keras.ops.zeros(v.shape) for v in variables])
    after = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    np.testing.assert_allclose(after[0], before[0] * (1 - RATE * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(after[1], before[1])


def test_the_class_stays_the_optimizers_own():
    variables = two_variables()
    rule = with_rates(optimizers.AdamW(), [(v, 1.0) for v in variables])
    assert isinstance(rule, optimizers.AdamW)
    assert isinstance(rule, LayerwiseOptimizer)
    again = with_rates(rule, [(v, 0.5) for v in variables])
    assert type(again) is type(rule)
    assert current_multipliers(again, variables) == [0.5, 0.5]


def test_an_optimizer_is_rebuilt_from_its_config():
    variables = two_variables()
    schedule = optimizers.schedules.CosineDecay(0.5, 10)
    pairs = zip(variables, (0.25, 1.0), strict=True)
    rule = with_rates(optimizers.RMSprop(schedule, rho=0.75), pairs)
    config = keras.saving.serialize_keras_object(rule)
    again = keras.saving.deserialize_keras_object(config)
    assert (type(again), again.rho) == (type(rule), 0.75)
    assert current_multipliers(again, variables) == [0.25, 1.0]
    assert float(again.learning_rate) == 0.5


def test_a_loss_scaler_is_kept_around_it():
    variables = two_variables()
    scaler = optimizers.LossScaleOptimizer(optimizers.SGD(), initial_scale=8.0)
    rule = with_rates(scaler, [(v, 0.5) for v in variables])
    assert (type(rule), rule.initial_scale) == (optimizers.LossScaleOptimizer, 8.0)
    assert current_multipliers(rule, variables) == [0.5, 0.5]


def test_what_a_plain_optimizer_multiplies_by_is_one():
    assert current_multipliers(optimizers.SGD(), two_variables()) == [1.0, 1.0]


def test_ftrl_cannot_stand_still():
    pairs = zip(two_variables(), (0.0, 1.0), strict=True)
    with pytest.raises(ValueError, match="`multipliers` must be above 0 for Ftrl"):
        with_rates(optimizers.Ftrl(), pairs)


@pytest.mark.skipif(OLD_MUON, reason="this Keras has no MultiOptimizer")
def test_an_optimizer_of_several_is_refused():
    several = optimizers.MultiOptimizer([optimizers.SGD()], lambda variable: 0)
    with pytest.raises(ValueError, match="`optimizer` must be a single optimizer"):
        with_rates(several, [])


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="`backend` must be TensorFlow or JAX"):
        with_rates(optimizers.SGD(), [])


def test_variables_of_one_path_are_told_apart_as_objects():
    twins = [keras.Variable([0.0], name="a"), keras.Variable([0.0], name="a")]
    rule = with_rates(optimizers.SGD(), zip(twins, (0.5, 0.25), strict=True))
    assert current_multipliers(rule, twins[1:]) == [0.25]
    assert current_multipliers(rule, twins[::-1]) == [0.25, 0.5]


def test_variables_of_one_path_are_told_apart_by_their_order():
    table = RateTable((VariableRate("a", 0.5), VariableRate("a", 0.25)))
    twins = [keras.Variable([0.0], name="a"), keras.Variable([0.0], name="a")]
    assert [row.multiplier for row in table.of(twins)] == [0.5, 0.25]
    with pytest.raises(ValueError, match="several variables of one path"):
        table.of(twins[:1])


def test_another_model_is_refused():
    rule = with_rates(optimizers.SGD(), [(v, 1.0) for v in two_variables()])
    again = type(rule).from_config(rule.get_config())
    stranger = keras.Variable([0.0], name="stranger")
    with pytest.raises(ValueError, match=r"made for.*'stranger'.*compile=False"):
        again.build([stranger])


def compiled(**options):
    """A classifier in which everything trains, and nothing is zero."""
    model = small_classifier(learnt=True, dropout=0.0, **options)
    kerastl.unfreeze(model, "all", batch_norm="affine")
    compile_model(model, layer_decay=0.5, learning_rate=0.01, weight_decay=0.1)
    return model


def train(model, steps):
    images, labels = coloured(2)
    for _ in range(steps):
        model.train_on_batch(images.astype("float32"), labels)


RELOADED = """
import keras, kerastl, numpy as np, sys
model = keras.models.load_model(sys.argv[1])
data = np.load(sys.argv[2])
model.train_on_batch(data["images"], data["labels"])
rates = [row.multiplier for row in kerastl.rates.learning_rates(model).rows]
weights = [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]
np.savez(sys.argv[3], np.array(rates), *weights)
"""


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_training_goes_on_in_a_fresh_process(tmp_path, precision):
    model = compiled(precision=precision)
    # Several, as float16 skips steps until it has found its scale.
    train(model, 6)
    images, labels = coloured(2)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", images=images.astype("float32"), labels=labels)
    files = [str(tmp_path / name) for name in ("model.keras", "data.npz", "out.npz")]
    subprocess.run([sys.executable, "-c", RELOADED, *files], env=os.environ, check=True)
    before = values(model)
    train(model, 1)
    assert (values(model)[0] != before[0]).any()
    with np.load(files[2]) as found:
        rates, *weights = [found[name] for name in found.files]
    np.testing.assert_array_equal(rates, [0.125, 0.25, 0.5, 1.0])
    for weight, old, new in zip(model.weights, values(model), weights, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-7, err_msg=weight.path)


def test_multipliers_change_between_epochs_without_compiling_anew():
    traces = []

    def loss(labels, predicted):
        traces.append(1)
        return keras.losses.sparse_categorical_crossentropy(
            labels, predicted, from_logits=True
        )

    model = small_classifier(learnt=True)
    compile_model(
        model,
        optimizer=keras.optimizers.SGD(),
        learning_rate=1.0,
        multipliers={},
        loss=loss,
    )
    seen = []

    class Changing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rule = find_layerwise(self.model.optimizer)
            if epoch:
                own = self.model.trainable_variables
                rule.set_multipliers((v, float(epoch == 2)) for v in own)
            seen.append((len(traces), values(self.model)))

    images, labels = coloured(2)
    data = images.astype("float32"), labels
    model.fit(*data, epochs=4, batch_size=6, verbose=0, callbacks=[Changing()])
    (_, start), (first, one), (second, two), (third, three) = seen
    assert first == second == third
    kernel = [w.path for w in model.weights].index("head_dense/kernel")
    assert (one[kernel] != start[kernel]).all()
    np.testing.assert_array_equal(two[kernel], one[kernel])
    assert (three[kernel] != two[kernel]).all()
