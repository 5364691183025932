"""Private Keras hooks: each does what its docstring says on the installed Keras."""

import importlib
import sys
import threading

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from kerastl._compat import (
    VariableRates,
    applications_fetch_with,
    compiled_trainable_state,
    drop_variable,
    graph_nodes,
    held_array,
    import_keras_hub,
    is_decayed,
    is_functional,
    keep_averages,
    keras_home,
    own_variables,
    rerun_graph,
)


@pytest.fixture
def diamond():
    """`in` feeds `left` and `right`, which `sum` adds."""
    x = keras.Input((3,), name="in")
    left = keras.layers.Dense(2, name="left")(x)
    right = keras.layers.Dense(2, name="right")(x)
    return keras.Model(x, keras.layers.Add(name="sum")([left, right]))


def test_graph_nodes_lists_each_call_after_the_calls_it_needs(diamond):
    seen = set()
    for node in graph_nodes(diamond):
        assert set(node.inputs) <= seen
        seen.update(id(tensor) for tensor in node.outputs)
    names = [node.layer.name for node in graph_nodes(diamond)]
    assert names[0] == "in"
    assert names[-1] == "sum"
    assert sorted(names[1:-1]) == ["left", "right"]


def test_graph_nodes_leaves_out_calls_that_belong_to_other_models(diamond):
    other = keras.Input((3,))
    keras.Model(other, diamond.get_layer("left")(other))
    assert len(graph_nodes(diamond)) == 4


def test_graph_nodes_of_a_model_that_begins_in_the_middle_starts_at_its_input(diamond):
    suffix = keras.Model(
        [diamond.get_layer("left").output, diamond.get_layer("right").output],
        diamond.output,
    )
    assert [node.is_input for node in graph_nodes(suffix)] == [True, True, False]


def test_is_functional_tells_graphs_from_other_models(diamond):
    assert is_functional(diamond)
    assert not is_functional(keras.Sequential([keras.layers.Dense(1)]))
    assert not is_functional(keras.layers.Dense(1))


def test_rerun_graph_applies_the_same_layers_to_another_tensor(diamond):
    x = keras.Input((3,))
    doubled = keras.layers.Rescaling(2.0)(x)
    calls = []

    def call(layer, *args, **kwargs):
        calls.append(layer.name)
        return layer(*args, **kwargs)

    model = keras.Model(x, rerun_graph(diamond, doubled, call))
    data = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_allclose(
        model.predict(data, verbose=0), diamond.predict(2 * data, verbose=0), rtol=1e-6
    )
    assert sorted(calls) == ["left", "right", "sum"]


def test_keras_home_is_where_get_file_looks(tmp_path, monkeypatch):
    from keras.src import backend

    monkeypatch.setattr(backend.config, "_KERAS_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "here.h5").write_bytes(b"x")
    found = keras.utils.get_file("here.h5", "http://nowhere", cache_subdir="models")
    assert found == str(keras_home() / "models" / "here.h5")


def test_own_variables_are_what_the_flag_of_the_layer_switches():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 3))
    assert [v.name for v in own_variables(layer)] == ["gamma", "beta"]
    layer.trainable = False
    assert [v.name for v in own_variables(layer)] == ["gamma", "beta"]
    outer = keras.layers.TimeDistributed(keras.layers.Dense(2))
    outer.build((None, 4, 3))
    assert own_variables(outer) == ()


def test_weights_that_were_off_at_compile_are_not_remembered_as_on(diamond):
    left = diamond.get_layer("left")
    left.weights[0].trainable = False
    diamond.compile("sgd", "mse")
    known = compiled_trainable_state(diamond)
    if known is None:
        pytest.skip("this Keras keeps no record")
    assert set(known) == {v.path for v in diamond.trainable_variables}
    left.trainable = False
    assert {v.path for v in left.weights} <= set(compiled_trainable_state(diamond))


def test_is_decayed_tells_what_was_excluded():
    kernel, bias = (keras.Variable([0.0], name=name) for name in ("kernel", "bias"))
    rule = keras.optimizers.SGD(weight_decay=0.1)
    assert is_decayed(rule, kernel)
    rule.exclude_from_weight_decay(var_list=[bias])
    assert (is_decayed(rule, kernel), is_decayed(rule, bias)) == (True, False)


def test_variable_rates_reach_steps_and_decay_and_nothing_else():
    class Halves(VariableRates, keras.optimizers.SGD):
        def rate_factor(self, place):
            return (0.5, 0.25)[place]

    rule = Halves(0.5, weight_decay=0.5)
    pair = [keras.Variable([1.0], name="a"), keras.Variable([1.0], name="b")]
    rule.build(pair)
    assert [rule.place_of(variable) for variable in pair] == [0, 1]
    rule.apply([keras.ops.ones(1)] * 2)
    found = [float(keras.ops.convert_to_numpy(v)[0]) for v in pair]
    # Decay first: w (1 - rate * decay), then a step of -rate.
    np.testing.assert_array_equal(found, [1 - 0.125 - 0.25, 1 - 0.0625 - 0.125])
    assert float(rule.learning_rate) == 0.5


@pytest.mark.parametrize("kept", [True, False])
def test_fit_ends_on_kept_averages_wherever_it_stops(kept):
    averages = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True
            if kept:
                keep_averages(averages)

    x = keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(x, dense(x))
    rule = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(rule, loss=lambda y, w: w)
    # Two steps of a gradient of one: the weight is 0.9, then 0.8.
    ones = np.ones((2, 1), "float32")
    model.fit(
        ones, ones, batch_size=1, epochs=3, callbacks=[averages, Stop()], verbose=0
    )
    found = keras.ops.convert_to_numpy(dense.kernel).item()
    np.testing.assert_allclose(found, 0.85 if kept else 0.8, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_held_array_is_itself_also_in_a_compiled_step(dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    held = held_array(values)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(held()), values)
    x = keras.Input((2,))
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(x, dense(x))
    dense.kernel.regularizer = lambda w: keras.ops.sum((w - held()) ** 2) / 2
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, z: 0 * z)
    # The step of one whole offset ends at the array.
    model.fit(np.ones((1, 2)), np.ones((1, 3)), verbose=0)
    np.testing.assert_allclose(dense.get_weights()[0], values, atol=1e-6)


def test_a_dropped_variable_leaves_nothing_behind():
    layer = keras.layers.Dense(2, name="dense")
    layer.build((None, 3))
    layer.enable_lora(1)
    drop_variable(layer, "lora_kernel_a")
    assert [v.name for v in layer.weights] == ["kernel", "bias", "lora_kernel_b"]
    assert [v.name for v in own_variables(layer)] == ["kernel", "bias", "lora_kernel_b"]
    assert not hasattr(layer, "lora_kernel_a")


def test_each_thread_fetches_weights_files_by_its_own_function(monkeypatch):
    monkeypatch.setattr(file_utils, "get_file", keras_own := lambda: "Keras")
    found, inside, asked = [], threading.Event(), threading.Event()

    def second():
        inside.wait(10)
        found.append(file_utils.get_file())
        asked.set()
        with applications_fetch_with(lambda: "second"):
            found.append(file_utils.get_file())

    thread = threading.Thread(target=second)
    thread.start()
    with applications_fetch_with(lambda: "first"):
        inside.set()
        asked.wait(10)
        # Time for the second to come in between, if it may.
        thread.join(0.2)
        found.append(file_utils.get_file())
    thread.join(10)
    assert found == ["Keras", "first", "second"]
    assert file_utils.get_file is keras_own


def test_keras_hub_comes_without_the_warning_of_a_progress_bar(tmp_path, monkeypatch):
    lines = 'import warnings\nwarnings.warn("IProgress not found. Please update.")\n'
    (tmp_path / "keras_hub.py").write_text(lines + "SIZE = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    assert import_keras_hub().SIZE == 3
    del sys.modules["keras_hub"]  # not by monkeypatch, which would put it back
    (tmp_path / "keras_hub.py").write_text(lines.replace("IProgress", "A GPU"))
    importlib.invalidate_caches()
    with pytest.raises(UserWarning, match="A GPU not found"):
        import_keras_hub()
