"""The head of a classifier: pooling, penalty, precision, names, and its errors."""

import keras
import numpy as np
import pytest
from networks import (
    CLASSES,
    coloured,
    outputs,
    pixels,
    small_classifier,
    small_network,
    teach_head,
    trains,
)

import kerastl
from kerastl.models.backbones import using_precision
from kerastl.models.record import read_record


def features(model):
    """The backbone's feature map for `pixels()`."""
    return outputs(kerastl.features.truncate(model, "relu3"), pixels())


@pytest.mark.parametrize("pooling", ["avg", "max", "concat"])
def test_pooling_is_the_mean_the_maximum_or_both(pooling):
    model = small_classifier(pooling=pooling, learnt=True)
    maps = features(model)
    mean, most = maps.mean(axis=(1, 2)), maps.max(axis=(1, 2))
    both = np.concatenate([mean, most], axis=1)
    pooled = {"avg": mean, "max": most, "concat": both}[pooling]
    kernel, bias = model.get_layer("head_dense").get_weights()
    logits = pooled @ kernel + bias
    np.testing.assert_allclose(outputs(model, pixels()), logits, rtol=1e-4, atol=1e-4)


def test_hidden_layers_are_dense_and_relu():
    model = small_classifier(hidden=(5, 4), learnt=True)
    x = features(model).mean(axis=(1, 2))
    for name in ("head_hidden_1", "head_hidden_2"):
        kernel, bias = model.get_layer(name).get_weights()
        x = np.maximum(x @ kernel + bias, 0)
    kernel, bias = model.get_layer("head_dense").get_weights()
    np.testing.assert_allclose(
        outputs(model, pixels()), x @ kernel + bias, rtol=1e-4, atol=1e-4
    )


def test_the_penalty_is_the_sum_of_squares_of_the_heads_kernels():
    model = small_classifier(hidden=(5,), l2=0.01, learnt=True)
    kernels = [model.get_layer(n).kernel for n in ("head_hidden_1", "head_dense")]
    squares = sum(np.sum(np.square(kernel)) for kernel in kernels)
    model(pixels().astype("float32"))
    assert float(sum(model.losses)) == pytest.approx(0.01 * squares, rel=1e-5)


def test_the_penalty_is_in_the_loss():
    images, labels = coloured(2)
    plain, penalised = small_classifier(learnt=True), small_classifier(l2=0.01)
    penalised.set_weights(plain.get_weights())
    squares = np.sum(np.square(plain.get_layer("head_dense").kernel))
    without, total = (
        model.evaluate(images, labels, verbose=0)[0] for model in (plain, penalised)
    )
    assert total - without == pytest.approx(0.01 * squares, rel=1e-3)


def test_without_a_penalty_the_model_has_no_losses():
    assert small_classifier().losses == []


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_under_mixed_precision(precision):
    with using_precision(precision):
        network = small_network()
    options = {"preprocessing": "tf", "hidden": (4,), "precision": precision}
    model = kerastl.build_classifier(network, CLASSES, **options)
    teach_head(model)
    made = model(pixels())
    assert keras.backend.standardize_dtype(made.dtype) == "float32"
    assert model.get_layer("conv1").compute_dtype == precision[6:]
    assert model.get_layer("head_hidden_1").compute_dtype == precision[6:]
    assert model.get_layer("head_dense").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_a_backbone_of_another_precision_is_refused():
    options = {"preprocessing": "tf", "precision": "mixed_bfloat16"}
    expected = "`precision` must be 'float32', as the backbone small. Received"
    with pytest.raises(ValueError, match=expected):
        kerastl.build_classifier(small_network(), CLASSES, **options)
    options["precision"] = "float32"
    kerastl.build_classifier(small_network(), CLASSES, **options)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_dropout_is_in_the_head_at_its_rate(rate):
    names = [layer.name for layer in small_classifier(dropout=rate).layers]
    assert ("head_dropout" in names) == bool(rate)
    if rate:
        assert small_classifier(dropout=rate).get_layer("head_dropout").rate == rate


def test_the_binary_head_has_one_unit_and_two_names():
    model = small_classifier(["no", "yes"], task="binary")
    assert model.output_shape == (None, 1)
    assert kerastl.class_names(model) == ("no", "yes")


def test_the_multilabel_head_has_one_unit_a_name():
    assert small_classifier(task="multilabel").output_shape == (None, 3)


def test_class_names_survive_keras_own_load_model(tmp_path):
    names = ["Ähre", "b c", "3"]
    kerastl.save_model(small_classifier(names), tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert kerastl.class_names(loaded) == tuple(names)


def test_the_record_says_what_the_model_was_built_with():
    record = read_record(small_classifier(resize="pad", dropout=0.1))
    assert (record.task["name"], record.resize) == ("multiclass", "pad")
    assert (record.image_size, record.backbone) == ((16, 16), "small")
    assert record.head_layers == (
        "head_pool_avg",
        "head_dropout",
        "head_dense",
        "class_logits",
    )


def test_a_number_of_classes_gets_numbers_as_names():
    assert kerastl.class_names(small_classifier(3)) == ("0", "1", "2")


def test_names_may_come_as_an_array():
    assert kerastl.class_names(small_classifier(np.array(CLASSES))) == CLASSES


def test_a_new_classifier_trains_its_head_only_and_is_compiled():
    model = small_classifier()
    assert trains(model) == {"head_dense/kernel", "head_dense/bias"}
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)


def test_the_learning_rate_is_for_plain_fit():
    model = small_classifier(learning_rate=0.25)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.25)


def test_a_backbone_by_name_brings_its_weights_and_size():
    model = kerastl.build_classifier(
        "MobileNet", CLASSES, alpha=0.25, weights="tiny", image_size=32
    )
    record = read_record(model)
    assert (record.backbone, record.weights) == ("MobileNet", "tiny")
    assert (record.image_size, model.input_shape) == ((32, 32), (None, 32, 32, 3))


def test_a_backbone_from_build_backbone_is_taken_as_it_is():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    model = kerastl.build_classifier(backbone, CLASSES, image_size=32)
    assert set(backbone.layers) <= set(model.layers)


def test_a_foreign_network_is_copied():
    network = small_network()
    before = network.get_weights()
    model = kerastl.build_classifier(network, CLASSES, preprocessing="tf")
    for layer in model.layers:
        layer.set_weights([weight + 1 for weight in layer.get_weights()])
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert network.trainable_weights


def test_a_network_of_any_size_takes_its_size_from_the_argument():
    images = keras.Input((None, None, 3))
    network = keras.Model(images, keras.layers.Conv2D(2, 3)(images), name="any")
    model = kerastl.build_classifier(network, 2, preprocessing="tf", image_size=(8, 9))
    assert read_record(model).image_size == (8, 9)
    with pytest.raises(ValueError, match="`image_size` must be given"):
        kerastl.build_classifier(network, 2, preprocessing="tf")


def test_the_random_part_of_the_head_follows_from_the_seed():
    kernels = [
        small_classifier(hidden=(6,), seed=seed)
        .get_layer("head_hidden_1")
        .get_weights()
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(kernels[0][0], kernels[1][0])
    assert not np.array_equal(kernels[0][0], kernels[2][0])


def test_hidden_layers_of_one_shape_start_differently():
    model = small_classifier(hidden=(4, 4, 4), seed=0)
    second, third = (model.get_layer(f"head_hidden_{n}").kernel for n in (2, 3))
    assert not np.array_equal(second, third)


def test_dropout_follows_from_the_seed():
    made = []
    for seed in (3, 3, 4):
        model = small_classifier(dropout=0.5, seed=seed)
        weights = [w for layer in model.layers for w in layer.get_weights()]
        model.set_weights([np.full(w.shape, 0.1) for w in weights])
        made.append(outputs(model, pixels(), training=True))
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"classes": "cat"}, TypeError, "Pass the class names as a list"),
        ({"classes": ["a", "b", "a"]}, ValueError, r"distinct names.*\['a'\]"),
        ({"classes": []}, ValueError, "at least one name"),
        ({"classes": 1}, ValueError, "at least two names"),
        ({"classes": 2.5}, TypeError, "`classes` must be an integer"),
        ({"pooling": "mean"}, ValueError, "`pooling` must be one of"),
        ({"resize": "squash"}, ValueError, "`resize` must be one of"),
        ({"dropout": 1.0}, ValueError, "`dropout` must be"),
        ({"l2": -1.0}, ValueError, "`l2` must be"),
        ({"hidden": 64}, TypeError, "`hidden` must be a sequence"),
        ({"hidden": (0,)}, ValueError, "`hidden` must be at least 1"),
        ({"precision": "float64"}, ValueError, "`precision` must be one of"),
        ({"preprocessing": None}, ValueError, "given for a backbone that was not"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, error, sentence):
    settings = {"classes": CLASSES, "preprocessing": "tf", **options}
    with pytest.raises(error, match=sentence):
        kerastl.build_classifier(small_network(), settings.pop("classes"), **settings)


def test_another_size_than_the_backbones_is_refused():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    with pytest.raises(ValueError, match=r"\(32, 32\), the backbone's own"):
        kerastl.build_classifier(backbone, CLASSES, image_size=64)


def test_something_else_is_no_backbone():
    with pytest.raises(TypeError, match=r"a backbone's name or a keras.Model.*'int'"):
        kerastl.build_classifier(50, CLASSES)
