"""Building under another dtype policy leaves Keras as it was."""

import keras
import pytest

from kerastl.models.backbones import PRECISIONS, using_precision


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_inside_have_the_policy(precision):
    with using_precision(precision):
        assert keras.layers.Dense(1).dtype_policy.name == precision
    assert keras.layers.Dense(1).dtype_policy.name == "float32"


def test_none_changes_nothing():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with using_precision(None):
            assert keras.layers.Dense(1).dtype_policy.name == "mixed_bfloat16"
        with using_precision("float32"):
            assert keras.layers.Dense(1).dtype_policy.name == "float32"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_an_error_inside_leaves_no_policy_behind():
    with pytest.raises(KeyError), using_precision("mixed_bfloat16"):
        raise KeyError
    assert keras.config.dtype_policy().name == "float32"


def test_an_unknown_policy_is_refused():
    with (
        pytest.raises(ValueError, match=r"`precision` must be one of.*'mixed_float16'"),
        using_precision("float16"),
    ):
        pass
