"""The penalty on one variable's distance from its start."""

import keras
import numpy as np
import pytest

from kerastl.training.penalties import PullToStart


def test_one_more_on_128_weights_costs_64_times_the_strength():
    start = np.random.default_rng(0).integers(-4, 5, (8, 16)).astype("float32")
    pull = PullToStart(1.0, start)
    assert float(pull(keras.Variable(start + 1.0))) == 64.0


def test_without_a_start_it_pulls_to_zero():
    values = np.arange(5.0, dtype="float32")
    assert float(PullToStart(0.5)(keras.Variable(values))) == 0.25 * 30.0


def test_at_the_start_it_costs_nothing():
    start = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    assert float(PullToStart(7.0, start)(keras.Variable(start))) == 0.0


def test_the_start_stays_when_the_array_it_came_from_changes():
    start = np.zeros(4, "float32")
    pull = PullToStart(2.0, start)
    start += 9.0
    assert float(pull(keras.Variable(np.ones(4, "float32")))) == 4.0


def test_the_penalty_of_before_is_added_to_the_whole_but_is_no_pull():
    pull = PullToStart(2.0, np.zeros(4), inherited=keras.regularizers.L1(0.5))
    ones = keras.Variable(np.ones(4, "float32"))
    assert float(pull(ones)) == 4.0 + 2.0
    assert float(pull.pull(ones)) == 4.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_single(dtype):
    # 300² alone is beyond float16; 2049 terms are beyond what bfloat16 can count.
    far = keras.Variable(np.full(2049, 300.0, "float32"), dtype=dtype)
    assert float(PullToStart(2.0, np.zeros(2049, "float32"))(far)) == 2049 * 300.0**2


def test_a_compiled_step_does_not_carry_the_start():
    start = np.random.default_rng(0).normal(size=(100, 1000)).astype("float32")
    pull, values = PullToStart(1.0, start), np.zeros_like(start)
    assert compiled_size(pull, values) < start.nbytes / 10


def compiled_size(function, values):
    """Bytes of the program that a function of one array is compiled to."""
    if keras.backend.backend() == "jax":
        import jax

        return len(jax.jit(function).lower(jax.numpy.array(values)).as_text())
    import tensorflow as tf

    concrete = tf.function(function).get_concrete_function(tf.constant(values))
    return concrete.graph.as_graph_def().ByteSize()
