"""The table of what trains counts what Keras counts."""

import keras
import numpy as np
import pytest
from networks import CLASSES, small_classifier, small_network

import kerastl


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("trainable", ["head", 2, "all"])
@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_totals_are_keras_counts(trainable, batch_norm):
    model = small_classifier(hidden=(4,))
    kerastl.unfreeze(model, trainable, batch_norm=batch_norm)
    report = kerastl.trainable_report(model)
    assert report.parameters == model.count_params()
    assert report.trainable == count(model.trainable_weights)


def test_totals_hold_for_a_registered_network():
    model = kerastl.build_classifier(
        "MobileNet", CLASSES, alpha=0.25, weights="tiny", image_size=32
    )
    report = kerastl.trainable_report(model)
    assert report.parameters == model.count_params()
    assert len(report.rows) == 1 + 13 + 1


def test_a_row_holds_its_block():
    model = small_classifier()
    kerastl.unfreeze(model, ("block_2",), batch_norm="affine")
    row = kerastl.trainable_report(model).rows[1]
    # Convolution 3x3x4x4; BatchNorm with four vectors of four.
    assert (row.block, row.layers, row.parameters) == ("block_2", 2, 144 + 16)
    assert (row.trainable, row.batch_norm) == (144 + 8, "affine")


@pytest.mark.parametrize("mode", ["frozen", "affine", "train"])
def test_batch_norm_is_told_block_by_block(mode):
    model = small_classifier()
    kerastl.unfreeze(model, 1, batch_norm=mode)
    rows = kerastl.trainable_report(model).rows
    told = [row.batch_norm for row in rows]
    assert told == ["frozen", "frozen", mode, "-"]


def test_a_block_of_two_minds_is_mixed():
    images = keras.Input((8, 8, 3))
    x = images
    for number in (1, 2):
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    model = keras.Model(images, x)
    model.get_layer("norm1").trainable = False
    assert kerastl.trainable_report(model).rows[0].batch_norm == "mixed"


def test_the_head_comes_last_and_a_bare_network_has_none():
    assert kerastl.trainable_report(small_classifier()).rows[-1].block == "head"
    blocks = [row.block for row in kerastl.trainable_report(small_network()).rows]
    assert blocks == ["block_1", "block_2", "block_3"]


def test_the_table_prints_a_line_a_block_and_the_total():
    report = kerastl.trainable_report(small_classifier())
    lines = str(report).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "block_1",
        "block_2",
        "block_3",
        "head",
        "total",
    ]
    assert lines[-1].split()[2:] == [f"{report.parameters:,}", f"{report.trainable:,}"]
    assert len({line.index("parameters") for line in lines[:1]}) == 1
    assert max(map(len, lines)) <= 80


def test_something_else_is_refused():
    with pytest.raises(TypeError, match=r"a functional keras\.Model"):
        kerastl.trainable_report("model")


# --- where Keras's flags deceive ----------------------------------------------


def nested_classifier():
    """A frozen base inside a model, as Keras's guide to fine-tuning writes it."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(images)
    base = keras.Model(images, x, name="base")
    base.trainable = False
    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(base(images))
    return keras.Model(images, keras.layers.Dense(2, name="dense")(x))


def test_what_keras_left_frozen_is_told():
    model = nested_classifier()
    # It was True: TensorFlow does nothing, JAX opens the base again.
    model.trainable = True
    trained = sum(np.prod(w.shape) for w in model.trainable_variables)
    assert kerastl.trainable_report(model).trainable == trained
    assert trained == (10 if keras.backend.backend() == "tensorflow" else 122)


def test_all_is_all_where_keras_left_the_base_frozen():
    model = nested_classifier()
    model.trainable = True
    kerastl.unfreeze(model, "all")
    assert len(model.trainable_variables) == 4
    assert kerastl.trainable_report(model).trainable == 122


@pytest.mark.parametrize("spec", ["head", "all", 1, "bias"])
def test_unfreezing_reaches_weights_that_were_set_alone(spec):
    clean, odd = nested_classifier(), nested_classifier()
    conv = odd.get_layer("base").get_layer("conv")
    conv.trainable = True
    conv.kernel.trainable = False
    odd.get_layer("dense").kernel.trainable = False
    odd.trainable = True
    for model in (clean, odd):
        kerastl.unfreeze(model, spec)
    assert len(odd.trainable_variables) == len(clean.trainable_variables)
    assert {v.name for v in odd.trainable_variables} == {
        v.name for v in clean.trainable_variables
    }


def test_a_weight_with_a_flag_of_its_own_is_counted():
    model = nested_classifier()
    kerastl.freeze(model)
    conv = model.get_layer("base").get_layer("conv")
    conv.kernel.trainable = True
    trained = sum(np.prod(w.shape) for w in model.trainable_variables)
    assert kerastl.trainable_report(model).trainable == trained == 108 + 10


def test_a_model_switched_off_trains_nothing():
    model = nested_classifier()
    model.trainable = False
    model.get_layer("dense").trainable = True
    assert model.trainable_variables == []
    assert kerastl.trainable_report(model).trainable == 0
