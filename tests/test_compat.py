"""Private Keras hooks: each does what its docstring says on the installed Keras."""

import keras
import numpy as np
import pytest

from kerastl._compat import graph_nodes, is_functional, keras_home, rerun_graph


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
