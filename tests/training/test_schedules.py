"""Each schedule follows its closed form, in training too, and survives a file."""

import math

import keras
import numpy as np
import pytest

from kerastl.training.schedules import (
    _CLIMBING,
    SCHEDULES,
    OneCycle,
    SlantedTriangular,
    WarmUp,
    rate_schedule,
)

schedules = keras.optimizers.schedules


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def half_cosine(start, end, share):
    return start + (end - start) * (1 + math.cos(math.pi * (1 - share))) / 2


def test_one_cycle_is_two_half_cosines():
    made = rates(OneCycle(0.5, 40), 41)
    by_hand = [
        half_cosine(0.02, 0.5, step / 10)
        if step < 10
        else half_cosine(0.5, 5e-6, (step - 10) / 30)
        for step in range(41)
    ]
    np.testing.assert_allclose(made, by_hand, rtol=1e-4, atol=1e-7)


def test_one_cycle_begins_peaks_and_ends_where_it_should():
    schedule = OneCycle(
        0.8, 50, start_divisor=8.0, end_divisor=1000.0, rising_share=0.4
    )
    found = [float(schedule(step)) for step in (0, 20, 50)]
    np.testing.assert_allclose(found, [0.1, 0.8, 0.0008], rtol=1e-5)


def test_one_cycle_spends_what_straight_lines_would():
    # A half cosine is symmetric about its middle, so its mean is that of its ends.
    made = rates(OneCycle(1.0, 80), 81)
    area = (made[:-1] + made[1:]).sum() / 2
    expected = 20 * (0.04 + 1.0) / 2 + 60 * (1.0 + 1e-5) / 2
    assert area == pytest.approx(expected, rel=1e-5)


def test_one_cycle_stays_down_after_its_end():
    schedule = OneCycle(0.1, 10)
    # Where the cosine, if it went on, would be near its top again.
    assert float(schedule(17)) == pytest.approx(1e-6, rel=1e-4)


@pytest.mark.parametrize(
    ("steps", "share", "ratio"), [(100, 0.1, 32), (40, 0.25, 8), (100, 0.29, 32)]
)
def test_slanted_triangular_is_equation_3(steps, share, ratio):
    schedule = SlantedTriangular(0.01, steps, rising_share=share, ratio=ratio)
    t = np.arange(steps + 1)
    cut = round(steps * share)
    p = np.where(t < cut, t / cut, 1 - (t - cut) / (cut * (1 / share - 1)))
    expected = 0.01 * (1 + p * (ratio - 1)) / ratio
    np.testing.assert_allclose(rates(schedule, steps + 1), expected, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 7, 19, 199])
def test_slanted_triangular_reaches_its_end_at_any_length(steps):
    schedule = SlantedTriangular(0.32, steps)
    made = rates(schedule, steps + 2)
    assert made.min() == pytest.approx(0.01, rel=1e-4)
    np.testing.assert_allclose(made[[0, -1]], 0.01, rtol=1e-4)
    assert made.argmax() == max(steps // 10, 1)
    assert steps < 2 or made.max() == pytest.approx(0.32)


def test_warm_up_then_cosine_is_that_of_keras():
    made = WarmUp(schedules.CosineDecay(0.1, 25), 0.1, 7)
    of_keras = schedules.CosineDecay(
        0.1 / 7, 25, warmup_target=0.1, warmup_steps=7, alpha=0.0
    )
    np.testing.assert_allclose(rates(made, 40), rates(of_keras, 40), atol=1e-8)


@pytest.mark.parametrize("warmup", [0, 5])
def test_linear_goes_down_to_zero_in_equal_steps(warmup):
    made = rates(rate_schedule("linear", 0.2, 25, warmup), 26)
    down = 0.2 * (25 - np.arange(warmup, 26)) / (25 - warmup)
    np.testing.assert_allclose(made[warmup:], down, rtol=1e-4, atol=1e-8)
    climb = 0.2 / 5 + (0.2 - 0.2 / 5) * np.arange(warmup) / 5
    np.testing.assert_allclose(made[:warmup], climb, rtol=1e-5)


def test_a_constant_rate_is_the_number():
    assert rate_schedule("constant", 0.1, 10) == 0.1


@pytest.mark.parametrize(
    ("name", "warmup", "expected"),
    [
        ("cosine", 0, schedules.CosineDecay(0.1, 20)),
        (
            "cosine",
            4,
            schedules.CosineDecay(0.025, 16, warmup_target=0.1, warmup_steps=4),
        ),
        (
            "constant",
            20,
            schedules.CosineDecay(
                0.005, 1, alpha=1.0, warmup_target=0.1, warmup_steps=20
            ),
        ),
    ],
)
def test_cosine_and_constant_are_those_of_keras(name, warmup, expected):
    found = rate_schedule(name, 0.1, 20, warmup)
    np.testing.assert_allclose(rates(found, 30), rates(expected, 30), atol=1e-8)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of its graphs")
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_schedule_branches_in_the_graph(name):
    import tensorflow as tf

    found = rate_schedule(name, 0.1, 20, 0 if name in _CLIMBING else 4)
    step = tf.TensorSpec((), "int64")
    graph = tf.function(found).get_concrete_function(step).graph
    assert not [op for op in graph.get_operations() if op.type in ("If", "StatelessIf")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("one_cycle", OneCycle), ("slanted_triangular", SlantedTriangular)],
)
def test_a_name_gives_the_schedule_with_its_own_numbers(name, kind):
    found = rate_schedule(name, 0.3, 50)
    assert type(found) is kind
    assert found.get_config() == kind(0.3, 50).get_config()


EACH = [
    OneCycle(0.5, 12, start_divisor=5.0, end_divisor=50.0, rising_share=0.5),
    SlantedTriangular(0.5, 12, rising_share=0.25, ratio=10.0),
    WarmUp(schedules.CosineDecay(0.5, 8), 0.5, 4),
    WarmUp(schedules.PiecewiseConstantDecay([2, 5], [0.5, 0.05, 0.005]), 0.5, 4),
]
NAMES = ["one_cycle", "slanted", "warm_up", "warm_up_steps"]


@pytest.mark.parametrize("schedule", EACH, ids=NAMES)
def test_a_schedule_survives_its_config(schedule):
    # Without the library's names at hand: what is registered must be found.
    rule = keras.optimizers.SGD(schedule)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(rule))
    for step in range(14):
        again.iterations.assign(step)
        assert float(again.learning_rate) == float(schedule(step))


def one_weight(schedule):
    """A model whose one weight loses the rate in each step."""
    x = keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(x, dense(x))
    model.compile(
        keras.optimizers.SGD(schedule), lambda y, predicted: predicted, jit_compile=True
    )
    return model


@pytest.mark.parametrize("schedule", EACH, ids=NAMES)
def test_compiled_training_takes_the_rate_of_each_step(schedule):
    model = one_weight(schedule)
    ones = np.ones((10, 1))
    model.fit(ones, ones, batch_size=1, verbose=0)
    moved = -float(model.weights[0][0, 0])
    assert moved == pytest.approx(rates(schedule, 10).sum(), rel=1e-5)


def test_a_schedule_survives_a_saved_model(tmp_path):
    model = one_weight(OneCycle(0.5, 12))
    model.compile(keras.optimizers.SGD(OneCycle(0.5, 12)), "mse")
    model.save(tmp_path / "model.keras")
    rule = keras.models.load_model(tmp_path / "model.keras").optimizer
    rule.iterations.assign(3)
    assert float(rule.learning_rate) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: OneCycle(0.0, 10), "`peak` must be above 0"),
        (lambda: OneCycle(0.1, 0), "`steps` must be at least 1"),
        (lambda: OneCycle(0.1, 10, start_divisor=0.5), "`start_divisor` must be"),
        (lambda: OneCycle(0.1, 10, end_divisor=0.5), "`end_divisor` must be"),
        (lambda: OneCycle(0.1, 10, rising_share=1.0), "`rising_share` must be"),
        (lambda: SlantedTriangular(-0.1, 10), "`peak` must be above 0"),
        (lambda: SlantedTriangular(0.1, 0), "`steps` must be at least 1"),
        (lambda: SlantedTriangular(0.1, 10, ratio=0.5), "`ratio` must be at least"),
        (lambda: SlantedTriangular(0.1, 10, rising_share=0.0), "`rising_share` must"),
        (lambda: WarmUp(OneCycle(0.1, 9), 0.0, 5), "`peak` must be above 0"),
        (lambda: WarmUp(OneCycle(0.1, 9), 0.1, 0), "`steps` must be at least 1"),
        (lambda: rate_schedule("cosinus", 0.1, 10), "Did you mean 'cosine'"),
        (lambda: rate_schedule("cosine", 0.0, 10), "`peak` must be above 0"),
        (lambda: rate_schedule("cosine", 0.1, 0), "`steps` must be at least 1"),
        (lambda: rate_schedule("cosine", 0.1, 9, -1), "`warmup_steps` must be"),
        (lambda: rate_schedule("one_cycle", 0.1, 9, 2), "It climbs by itself"),
        (lambda: rate_schedule("slanted_triangular", 0.1, 9, 2), "leave `warmup` out"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
