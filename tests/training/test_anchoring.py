"""L2-SP: the penalty of the whole model, by closed forms."""

import keras
import numpy as np
import pytest
from networks import assert_same_weights, coloured, outputs, pixels, small_classifier
from networks import values as weights_of

from kerastl.models.blocks import split_model
from kerastl.models.freezing import unfreeze
from kerastl.tasks.building import load_model, save_model
from kerastl.training.penalties import l2_sp, l2_sp_penalty, remove_l2_sp
from kerastl.training.phase import Phase
from kerastl.training.run import run_phases
from kerastl.training.watching import moved_paths, snapshot


def half_squares(truth, given):
    return keras.ops.mean(0.5 * keras.ops.square(truth - given), axis=-1)


def linear_model(width=3):
    """A linear backbone `(n, 1, width) -> (n, 1, 1)`; its head has no weights."""
    x = keras.Input((1, width))
    y = keras.layers.Dense(1, use_bias=False, name="linear")(x)
    return keras.Model(x, keras.layers.Flatten(name="flat")(y))


def least_squares(n=12, seed=0):
    """Rows with `X'X / n = diag(1, 0.8, 0.6)`, and targets."""
    generator = np.random.default_rng(seed)
    basis = np.linalg.qr(generator.normal(size=(n, 3)))[0]
    return basis * np.sqrt(n * np.array([1.0, 0.8, 0.6])), generator.normal(size=(n, 1))


def descend(model, x, y, *, rate, steps):
    model.compile(keras.optimizers.SGD(rate), half_squares)
    rows = x[:, None].astype("float32"), y.astype("float32")
    model.fit(*rows, batch_size=len(x), epochs=steps, shuffle=False, verbose=0)


@pytest.mark.parametrize("alpha", [0.05, 1.0, 30.0])
def test_gradient_descent_ends_at_the_closed_form(alpha):
    x, y = least_squares()
    model, n = linear_model(), len(x)
    start = np.array([[1.0], [-2.0], [0.5]])
    model.set_weights([start])
    l2_sp(model, alpha=alpha)
    descend(model, x, y, rate=1 / (1 + alpha), steps=25)
    wanted = np.linalg.solve(
        x.T @ x / n + alpha * np.eye(3), x.T @ y / n + alpha * start
    )
    np.testing.assert_allclose(model.get_weights()[0], wanted, atol=1e-6)


def test_a_step_without_data_keeps_one_minus_rate_times_alpha_of_the_offset():
    model = linear_model()
    start = np.array([[1.0], [-2.0], [0.5]])
    offset = np.array([[0.5], [1.0], [-3.0]])
    model.set_weights([start])
    l2_sp(model, alpha=0.5)
    model.set_weights([start + offset])
    descend(model, np.zeros((4, 3)), np.zeros((4, 1)), rate=0.2, steps=1)
    wanted = start + (1 - 0.2 * 0.5) * offset
    np.testing.assert_allclose(model.get_weights()[0], wanted, rtol=1e-6)


def changes(alpha, trainable=True):
    """How far backbone and head go in thirty steps of the rate that suits 1e3."""
    x = keras.Input((1, 3))
    y = keras.layers.Dense(2, use_bias=False, name="linear", trainable=trainable)(x)
    y = keras.layers.Flatten(name="flat")(y)
    model = keras.Model(x, keras.layers.Dense(1, use_bias=False, name="top")(y))
    start = [np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]), np.array([[1.0], [-1.0]])]
    model.set_weights(start)
    l2_sp(model, alpha=alpha, beta=0.0)
    descend(model, *least_squares(), rate=1e-3, steps=30)
    return [new - old for new, old in zip(model.get_weights(), start, strict=True)]


def test_a_huge_alpha_is_a_linear_probe():
    (backbone, head), (still, probe) = changes(1e3), changes(0.0, trainable=False)
    (free, _) = changes(0.0)
    assert not still.any()
    np.testing.assert_allclose(head, probe, rtol=0.02)
    # One step's worth of the thirty: the next pulls it back.
    assert np.linalg.norm(backbone) < 0.05 * np.linalg.norm(free)


def test_the_head_is_pulled_to_zero_and_the_backbone_to_its_start():
    model = small_classifier(learnt=True)
    unfreeze(model, 1)
    l2_sp(model, alpha=2.0, beta=0.5)
    kernel, bias = model.get_layer("head_dense").get_weights()
    head = 0.25 * (np.square(kernel).sum() + np.square(bias).sum())
    np.testing.assert_allclose(l2_sp_penalty(model), head, rtol=1e-6)
    conv = model.get_layer("conv3").kernel
    conv.assign_add(np.full(conv.shape, 0.5))
    wanted = head + 0.25 * np.prod(conv.shape)
    np.testing.assert_allclose(l2_sp_penalty(model), wanted, rtol=1e-6)
    np.testing.assert_allclose(float(sum(model.losses)), wanted, rtol=1e-6)


def test_gamma_and_beta_are_held_like_the_kernels():
    model = small_classifier()
    unfreeze(model, 1, batch_norm="affine")
    l2_sp(model, alpha=2.0)
    gamma = model.get_layer("bn3").gamma
    gamma.assign_add(np.ones(gamma.shape))
    np.testing.assert_allclose(l2_sp_penalty(model), 4.0, rtol=1e-6)


def test_frozen_weights_cost_nothing_however_far_they_are():
    model = small_classifier()
    unfreeze(model, "all")
    l2_sp(model, alpha=1.0)
    unfreeze(model, "head")
    conv = model.get_layer("conv1").kernel
    conv.assign_add(np.ones(conv.shape))
    assert l2_sp_penalty(model) == 0.0
    assert float(sum(model.losses)) == 0.0


def test_it_pulls_to_a_start_that_is_given():
    model = linear_model()
    model.set_weights([np.full((3, 1), 5.0)])
    l2_sp(model, alpha=2.0, start=[np.full((3, 1), 4.0)])
    assert l2_sp_penalty(model) == 3.0


def test_a_second_call_replaces_the_first():
    model = linear_model()
    l2_sp(model, alpha=1.0)
    kernel = model.get_layer("linear").kernel
    kernel.assign_add(np.ones((3, 1)))
    l2_sp(model, alpha=8.0)
    assert l2_sp_penalty(model) == 0.0
    kernel.assign_add(np.ones((3, 1)))
    np.testing.assert_allclose(l2_sp_penalty(model), 12.0, rtol=1e-6)


def test_removal_brings_the_former_regularizer_back():
    model = linear_model()
    kernel = model.get_layer("linear").kernel
    kernel.regularizer = keras.regularizers.L1(1.0)
    kernel.assign(np.ones((3, 1)))
    l2_sp(model)
    l2_sp(model)
    assert float(sum(model.losses)) == 3.0
    remove_l2_sp(model)
    assert isinstance(kernel.regularizer, keras.regularizers.L1)
    assert l2_sp_penalty(model) == 0.0


def test_removal_reaches_weights_that_were_frozen_since():
    model = small_classifier()
    unfreeze(model, "all")
    l2_sp(model)
    unfreeze(model, "head")
    remove_l2_sp(model)
    assert all(weight.regularizer is None for weight in model.weights)


def test_the_start_is_no_weight_of_the_model():
    model = small_classifier()
    unfreeze(model, "all")
    paths = [variable.path for variable in model.variables]
    before = snapshot(model)
    l2_sp(model)
    assert [variable.path for variable in model.variables] == paths
    assert moved_paths(model, before) == ()
    assert_same_weights(model, before)


def test_a_file_knows_nothing_of_it_and_predicts_the_same(tmp_path):
    model = small_classifier(learnt=True)
    unfreeze(model, "all")
    plain, held = tmp_path / "plain.keras", tmp_path / "held.keras"
    save_model(model, plain)
    l2_sp(model)
    save_model(model, held)
    loaded = load_model(held)
    assert len(loaded.losses) == 0
    np.testing.assert_array_equal(outputs(loaded, pixels()), outputs(model, pixels()))
    assert abs(held.stat().st_size - plain.stat().st_size) < 200


def test_the_part_above_a_cut_is_held_too():
    model = small_classifier(learnt=True)
    unfreeze(model, 1)
    l2_sp(model, alpha=2.0, beta=0.5)
    model.get_layer("conv3").kernel.assign_add(np.ones((3, 3, 4, 4)))
    _, part = split_model(model, "relu2")
    assert l2_sp_penalty(part) == l2_sp_penalty(model) > 100


def drift_after_training(alpha, cache):
    keras.utils.set_random_seed(0)
    model = small_classifier(learnt=True)
    unfreeze(model, 1)
    before = snapshot(model)
    l2_sp(model, alpha=alpha, beta=0.0)
    phase = Phase("top", trainable=1, epochs=9, learning_rate=0.02, optimizer="sgd")
    # With a loss of one's own nothing is said about how large it is.
    options = {"loss": model.loss, "cache": cache, "seed": 0}
    run_phases(model, coloured(), phases=[phase], **options)
    place = [weight.path for weight in model.weights].index("conv3/kernel")
    return weights_of(model)[place] - before[place]


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_training_in_phases_is_held_cached_or_not(cache):
    free, held = (drift_after_training(alpha, cache) for alpha in (0.0, 20.0))
    assert np.linalg.norm(held) < 0.5 * np.linalg.norm(free)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -0.1}, "`alpha` must be at least 0"),
        ({"beta": -1.0}, "`beta` must be at least 0"),
        ({"alpha": float("nan")}, "`alpha` must be"),
        ({"start": [np.zeros((2, 1))]}, "`start` must be 1 arrays"),
        ({"start": []}, "`start` must be 1 arrays"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        l2_sp(linear_model(), **options)


def test_a_refused_call_leaves_the_old_penalty_in_place():
    model = linear_model()
    l2_sp(model, alpha=2.0)
    with pytest.raises(ValueError, match="start"):
        l2_sp(model, start=[])
    model.get_layer("linear").kernel.assign_add(np.ones((3, 1)))
    np.testing.assert_allclose(l2_sp_penalty(model), 3.0, rtol=1e-6)


def test_a_model_that_does_not_train_is_refused():
    model = linear_model()
    model.trainable = False
    with pytest.raises(ValueError, match="a weight that trains"):
        l2_sp(model)
