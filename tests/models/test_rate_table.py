"""The table tells the rates of the next step, block by block."""

import keras
import numpy as np
import pytest
from networks import small_classifier, small_network

import kerastl
from kerastl.models.optimizers import find_layerwise, learning_rates
from kerastl.tasks.compiling import compile_model


def compiled(trainable="all", **options):
    model = small_classifier()
    kerastl.unfreeze(model, trainable, batch_norm="affine")
    compile_model(model, **{"learning_rate": 0.5, **options})
    return model


def test_a_row_a_block_with_its_rate_and_what_trains():
    model = compiled(2, layer_decay=0.5)
    rows = learning_rates(model).rows
    assert [(row.block, row.multiplier, row.learning_rate) for row in rows] == [
        ("block_1", 0.0, 0.0),
        ("block_2", 0.25, 0.125),
        ("block_3", 0.5, 0.25),
        ("head", 1.0, 0.5),
    ]
    trained = [row.trainable for row in kerastl.trainable_report(model).rows]
    assert [row.parameters for row in rows] == trained


def test_a_plain_optimizer_has_one_rate():
    assert {row.learning_rate for row in learning_rates(compiled()).rows} == {0.5}


def test_a_layer_of_its_own_rate_has_a_row():
    rows = learning_rates(compiled(multipliers={"conv2": 0.25})).rows
    found = [(row.multiplier, row.parameters) for row in rows if row.block == "block_2"]
    assert found == [(0.25, 4 * 4 * 9), (1.0, 2 * 4)]


def test_what_was_changed_since_is_told():
    model = compiled(layer_decay=0.5)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.learning_rate = 0.25
    own = model.get_layer("head_dense").trainable_variables
    find_layerwise(model.optimizer).set_multipliers((v, 2.0) for v in own)
    row = learning_rates(model).rows[-1]
    assert (row.multiplier, row.learning_rate) == (2.0, 0.5)


def test_a_schedule_is_told_as_of_now():
    schedule = keras.optimizers.schedules.CosineDecay(0.5, 10)
    row = learning_rates(compiled(learning_rate=schedule)).rows[-1]
    np.testing.assert_allclose(row.learning_rate, 0.5)


def test_it_prints_a_line_a_block():
    lines = str(learning_rates(compiled(layer_decay=0.5))).splitlines()
    assert lines[0].split() == ["block", "multiplier", "learning", "rate", "parameters"]
    assert lines[-1].split() == ["head", "1", "0.5", "15"]
    assert len(lines) == 2 + 4


def test_a_model_must_be_compiled():
    with pytest.raises(ValueError, match="`model` must be a compiled model"):
        learning_rates(small_network())
