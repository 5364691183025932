"""Loss, optimizer and decay are those of the head, and each compile starts afresh."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import coloured, small_classifier, small_network, trains, values

import kerastl
from kerastl.tasks.compiling import (
    compile_model,
    compiled_paths,
    jit_mode,
    make_optimizer,
    trainable_paths,
)


def no_loss(labels, predicted):
    """A loss whose gradient is zero everywhere."""
    return 0.0 * keras.ops.sum(predicted, axis=-1)


def after_one_step(model, **options):
    """Path -> (before, after) of one step without a gradient."""
    compile_model(model, loss=no_loss, learning_rate=0.01, **options)
    before = values(model)
    images, labels = coloured(1)
    model.train_on_batch(images.astype("float32"), labels)
    pairs = zip(model.weights, before, values(model), strict=True)
    return {weight.path: (old, new) for weight, old, new in pairs}


def open_model():
    """Every weight trains, and none is zero."""
    model = small_classifier(hidden=(4,))
    for layer in model.layers:
        layer.set_weights([np.full(w.shape, 0.5) for w in layer.get_weights()])
    kerastl.unfreeze(model, "all", batch_norm="affine")
    return model


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_decay_shrinks_kernels_and_nothing_else(optimizer):
    steps = after_one_step(open_model(), optimizer=optimizer, weight_decay=0.1)
    kernels = {path for path in steps if path.endswith("kernel")}
    assert len(kernels) == 5
    for path, (old, new) in steps.items():
        shrunk = old * (1 - 0.01 * 0.1) if path in kernels else old
        np.testing.assert_allclose(new, shrunk, rtol=1e-6, err_msg=path)


def test_adamw_decays_by_its_own_rate_unless_told():
    steps = after_one_step(open_model())
    old, new = steps["head_dense/kernel"]
    rate = keras.optimizers.AdamW().weight_decay
    np.testing.assert_allclose(new, old * (1 - 0.01 * rate), rtol=1e-6)


@pytest.mark.skipif(
    "adam_weight_decay" not in keras.optimizers.Muon().get_config(),
    reason="an older Muon has one decay, and takes no step on TensorFlow",
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_both_decays_of_muon_are_set_and_biases_have_neither(weight_decay):
    # Of no gradient Muon's matrices make a step of zeros too.
    pattern = keras.optimizers.Muon()
    steps = after_one_step(open_model(), optimizer=pattern, weight_decay=weight_decay)
    for path, (old, new) in steps.items():
        shrunk = old * (1 - 0.01 * weight_decay) if path.endswith("kernel") else old
        np.testing.assert_allclose(new, shrunk, rtol=1e-6, err_msg=path)


def test_decay_can_be_switched_off():
    for path, (old, new) in after_one_step(open_model(), weight_decay=0.0).items():
        np.testing.assert_array_equal(old, new, err_msg=path)


def test_biases_of_two_axes_are_not_decayed():
    x = keras.Input((4,))
    dense = layers.EinsumDense("nc,cde->nde", (2, 3), bias_axes="de", name="heads")
    model = keras.Model(x, layers.Flatten()(dense(x)))
    dense.set_weights([np.ones((4, 2, 3)), np.ones((2, 3))])
    compile_model(model, loss=no_loss, learning_rate=0.1, weight_decay=0.1)
    model.train_on_batch(np.zeros((2, 4)), np.zeros((2, 6)))
    np.testing.assert_allclose(dense.kernel, 0.99, rtol=1e-6)
    np.testing.assert_array_equal(dense.bias, 1.0)


def test_an_optimizer_is_a_pattern():
    model = small_classifier()
    pattern = keras.optimizers.SGD(0.5, momentum=0.25, nesterov=True)
    compile_model(model, optimizer=pattern, learning_rate=0.125)
    assert model.optimizer is not pattern
    assert (model.optimizer.momentum, model.optimizer.nesterov) == (0.25, True)
    assert float(model.optimizer.learning_rate) == 0.125
    assert not pattern.built
    assert float(pattern.learning_rate) == 0.5


def test_the_state_of_a_used_optimizer_stays_behind():
    model = small_classifier()
    used = keras.optimizers.Adam()
    used.build(model.trainable_variables)
    used.iterations.assign(7)
    compile_model(model, optimizer=used)
    assert int(model.optimizer.iterations) == 0


def test_every_compile_starts_afresh():
    model = small_classifier()
    first = model.optimizer
    compile_model(model)
    assert model.optimizer is not first


def test_sgd_by_name_has_momentum():
    assert make_optimizer("sgd", 0.1).momentum == 0.9
    assert make_optimizer(keras.optimizers.SGD(), 0.1).momentum == 0.0


def test_settings_reach_the_optimizer_inside_a_loss_scaler():
    scaler = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(beta_1=0.5), initial_scale=64.0, dynamic_growth_steps=7
    )
    options = {"learning_rate": 0.25, "weight_decay": 0.5, "global_clipnorm": 2.0}
    model = small_classifier(precision="mixed_float16", learnt=True)
    before = values(model)
    compile_model(model, optimizer=scaler, **options)
    found, inner = model.optimizer, model.optimizer.inner_optimizer
    assert (found.initial_scale, found.dynamic_growth_steps) == (64.0, 7)
    assert (inner.beta_1, inner.weight_decay, inner.global_clipnorm) == (0.5, 0.5, 2.0)
    assert float(found.learning_rate) == 0.25
    images, labels = coloured(1)
    model.train_on_batch(images.astype("float32"), labels)
    assert not np.array_equal(before[-2], values(model)[-2])


def test_an_optimizer_with_rates_of_its_own_is_no_pattern():
    model = open_model()
    for precision in (lambda rule: rule, keras.optimizers.LossScaleOptimizer):
        pattern = precision(
            kerastl.rates.layerwise_optimizer("adamw", model, layer_decay=0.5)
        )
        with pytest.raises(ValueError, match=r"without rates.*`layer_decay` and `mult"):
            compile_model(model, optimizer=pattern)


def test_clipping_by_norm_replaces_other_clipping():
    pattern = keras.optimizers.Adam(clipnorm=1.0)
    rule = make_optimizer(pattern, 0.1, global_clipnorm=0.5)
    assert (rule.global_clipnorm, rule.clipnorm, rule.clipvalue) == (0.5, None, None)


def test_a_schedule_may_be_the_rate():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert float(make_optimizer("adam", schedule).learning_rate) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"learning_rate": 0.0}, ValueError, "`learning_rate` must be above 0"),
        ({"learning_rate": "fast"}, TypeError, "`learning_rate` must be a number"),
        ({"optimizer": "adamx"}, ValueError, "a Keras optimizer or its name"),
        ({"weight_decay": -1.0}, ValueError, "`weight_decay` must be at least 0"),
        ({"global_clipnorm": 0.0}, ValueError, "`global_clipnorm` must be above 0"),
        ({"label_smoothing": 1.0}, ValueError, "`label_smoothing` must be"),
        ({"loss": "mse", "label_smoothing": 0.1}, ValueError, "0 when a loss is given"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        compile_model(small_classifier(), **options)


def test_a_model_without_a_task_needs_a_loss():
    with pytest.raises(ValueError, match="`loss` must be given for this model"):
        compile_model(small_network())


def test_a_model_in_which_nothing_trains_is_refused():
    model = small_network()
    kerastl.freeze(model)
    with pytest.raises(ValueError, match="with a weight that trains"):
        compile_model(model, loss="mse")


@pytest.mark.parametrize(
    ("task", "smoothing", "loss"),
    [
        ("multiclass", 0.0, keras.losses.SparseCategoricalCrossentropy),
        ("binary", 0.1, keras.losses.BinaryCrossentropy),
        ("multilabel", 0.0, keras.losses.BinaryCrossentropy),
    ],
)
def test_the_loss_is_the_tasks_on_logits(task, smoothing, loss):
    model = small_classifier(2, task=task)
    compile_model(model, label_smoothing=smoothing)
    assert isinstance(model.loss, loss)
    assert model.loss.get_config()["from_logits"] is True
    assert model.loss.get_config().get("label_smoothing", 0.0) == smoothing


def test_no_metrics_means_none():
    model = small_classifier()
    compile_model(model, metrics=[])
    images, labels = coloured(1)
    results = model.evaluate(images, labels, verbose=0, return_dict=True)
    assert set(results) == {"loss"}


def test_float16_is_scaled_in_every_part_of_a_model():
    model = small_classifier(precision="mixed_float16", hidden=(4,))
    _, part = kerastl.features.split_model(model, "relu3")
    compile_model(part, loss="mse")
    for each in (model, part):
        assert isinstance(each.optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_precisions_are_not_scaled(precision):
    model = small_classifier(precision=precision)
    assert type(model.optimizer) is keras.optimizers.AdamW


def test_xla_is_off_for_tensorflow_on_a_cpu_only():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpu = bool(tf.config.list_logical_devices("GPU"))
        assert jit_mode() == ("auto" if gpu else False)
    else:
        assert jit_mode() == "auto"


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_what_was_compiled_is_remembered(precision):
    model = small_classifier(precision=precision)
    before = trainable_paths(model)
    kerastl.unfreeze(model, "all")
    assert set(before) < trains(model)
    assert compiled_paths(model) == before
    compile_model(model)
    assert set(compiled_paths(model)) == trains(model)


def test_nothing_is_known_of_a_model_that_was_not_compiled():
    assert compiled_paths(small_network()) is None
