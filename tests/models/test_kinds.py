"""Normalisation, biases or adapters train by themselves, and nothing besides."""

import carriers
import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    coloured,
    outputs,
    pixels,
    small_classifier,
    trains,
    values,
)

import kerastl
from kerastl.models.freezing import partly_trained_layers_frozen, train_only
from kerastl.models.lora import add_lora

HEAD = {"head_dense/kernel", "head_dense/bias"}
NORMS = ("stem_bn", "bn1", "bn2")
CONVOLUTIONS = ("stem", "conv1", "conv2")

# A convolution with a bias, BatchNorm and dropout in each block: see `carriers`.
EXPECTED = {
    "head": set(),
    "norm": {f"{name}/{part}" for name in NORMS for part in ("gamma", "beta")},
    "bias": {f"{name}/beta" for name in NORMS}
    | {f"{name}/bias" for name in CONVOLUTIONS},
    "lora": {f"{name}/lora_kernel_{part}" for name in CONVOLUTIONS for part in "ab"},
}


def residual(kind, **options):
    model = carriers.build("residual", **options)
    if kind == "lora":
        add_lora(model, rank=2)
    return model


def moving_statistics(model):
    """Paths of the weights that a pass in training mode moves."""
    before = values(model)
    outputs(model, pixels(size=model.input_shape[1]), training=True)
    pairs = zip(model.weights, before, values(model), strict=True)
    return {w.path for w, old, new in pairs if not np.array_equal(old, new)}


@pytest.mark.parametrize("kind", EXPECTED)
def test_exactly_the_kind_and_the_head_train(kind):
    model = residual(kind)
    kerastl.unfreeze(model, "all", batch_norm="train")
    train_only(model, kind)
    assert trains(model) == HEAD | EXPECTED[kind]


@pytest.mark.parametrize("kind", EXPECTED)
def test_no_statistic_moves(kind):
    model = residual(kind)
    train_only(model, kind)
    assert moving_statistics(model) == set()


@pytest.mark.parametrize("kind", EXPECTED)
def test_dropout_in_the_backbone_is_off(kind):
    model = residual(kind, dropout=0)
    train_only(model, kind)
    calm = outputs(model, pixels(size=32))
    np.testing.assert_allclose(
        outputs(model, pixels(size=32), training=True), calm, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", EXPECTED)
def test_what_follows_does_not_depend_on_it(kind):
    model = residual(kind)
    train_only(model, kind)
    kerastl.unfreeze(model, ("stem", "stem_bn", "drop1"), batch_norm="affine")
    held = {"stem/kernel"} if kind == "lora" else set()
    adapters = {path for path in EXPECTED["lora"] if path.startswith("stem/")}
    expected = {"stem/kernel", "stem/bias", "stem_bn/gamma", "stem_bn/beta"} - held
    assert trains(model) == HEAD | expected | (adapters if held else set())


@pytest.mark.parametrize(
    ("batch_norm", "moves"), [("auto", False), ("frozen", False), ("train", True)]
)
def test_norm_trains_in_each_mode_and_statistics_only_when_told(batch_norm, moves):
    model = residual("norm")
    kerastl.unfreeze(model, "norm", batch_norm=batch_norm)
    assert trains(model) == HEAD | EXPECTED["norm"]
    assert bool(moving_statistics(model)) == moves


def test_the_other_normalisations_count_too():
    stack = keras.Sequential(
        [
            layers.LayerNormalization(name="layer"),
            layers.GroupNormalization(2, name="group"),
            layers.RMSNormalization(name="rms"),
        ]
    )
    images = keras.Input((4, 4, 4))
    x = layers.GlobalAveragePooling2D(name="pool")(stack(images))
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    train_only(model, "norm")
    names = {path.split("/", 1)[-1] for path in trains(model)}
    assert names >= {"layer/gamma", "layer/beta", "group/gamma", "group/beta"}
    assert "rms/scale" in names


def attention_model():
    """Attention over the positions of a feature map, with a dropout inside."""
    x = images = keras.Input((4, 4, 6))
    x = layers.Reshape((16, 6), name="rows")(x)
    x = layers.MultiHeadAttention(2, 3, dropout=0.5, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(images, layers.Dense(2, name="dense")(x))


def test_biases_inside_a_composite_layer_are_found():
    model = attention_model()
    train_only(model, "bias")
    inside = {f"attention/{name}/bias" for name in ("query", "key", "value")}
    inside |= {"attention/attention_output/bias"}
    assert trains(model) == {"dense/kernel", "dense/bias"} | inside
    data = np.random.default_rng(0).normal(size=(2, 4, 4, 6))
    first, second = (outputs(model, data, training=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("norm", "no layer with a normalisation with weights"),
        ("bias", "no layer with a bias"),
        ("lora", "no layer with an adapter. Call kerastl.lora.add first"),
    ],
)
def test_what_the_backbone_has_none_of_is_refused(kind, sentence):
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(images)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    before = trains(model)
    with pytest.raises(ValueError, match=sentence):
        train_only(model, kind)
    assert trains(model) == before


@pytest.mark.parametrize("kind", ["norm", "bias"])
def test_what_only_the_head_has_is_refused(kind):
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(images)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.LayerNormalization(name="norm")(x)
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    before = trains(model)
    with pytest.raises(ValueError, match="something that the backbone has"):
        kerastl.unfreeze(model, kind)
    assert trains(model) == before


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"`kind` must be one of .*'norm'"):
        train_only(small_classifier(), "norms")


def fit(model, *callbacks):
    images, labels = coloured(2, size=model.input_shape[1])
    data = images.astype("float32"), labels
    model.fit(*data, epochs=2, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize("kind", EXPECTED)
def test_exactly_the_kind_moves_in_a_plain_fit(kind):
    model = residual(kind)
    # A head of zeros sends no gradient down.
    dense = model.get_layer("head_dense")
    dense.set_weights([np.ones_like(w) * [1.0, -1, 0] for w in dense.get_weights()])
    train_only(model, kind)
    model.compile(keras.optimizers.SGD(0.1), model.loss)
    before = values(model)
    fit(model, kerastl.TrainableGuard())
    pairs = zip(model.weights, before, values(model), strict=True)
    moved = {w.path for w, old, new in pairs if not np.array_equal(old, new)}
    # The sum that follows a convolution's bias is normalised by held statistics.
    assert moved == HEAD | EXPECTED[kind]


def test_the_guard_sees_a_change_after_a_plain_compile():
    model = residual("bias")
    train_only(model, "bias")
    model.compile("sgd", model.loss)
    fit(model, guard := kerastl.TrainableGuard())
    train_only(model, "norm")
    with pytest.raises(ValueError, match="since compile"):
        fit(model, guard)


def test_a_file_never_holds_a_layer_that_would_train_whole(tmp_path):
    model = residual("bias")
    train_only(model, "bias")
    kerastl.save_model(model, tmp_path / "model.keras")
    assert trains(model) == HEAD | EXPECTED["bias"]
    assert trains(kerastl.load_model(tmp_path / "model.keras")) == HEAD


def test_normalisation_goes_on_training_after_a_file(tmp_path):
    model = residual("norm")
    train_only(model, "norm")
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = kerastl.load_model(tmp_path / "model.keras")
    assert trains(loaded) == HEAD | EXPECTED["norm"]
    assert moving_statistics(loaded) == set()


@pytest.mark.parametrize("spec", ["bias", "norm", ("conv1", "bn1", "drop1")])
def test_flags_are_as_before_after_a_block_that_failed(spec):
    model = residual("bias")
    kerastl.unfreeze(model, spec, batch_norm="frozen")
    before = trains(model), [layer.trainable for layer in model.layers]
    with pytest.raises(OSError, match="full"), partly_trained_layers_frozen(model):
        raise OSError("full")
    assert (trains(model), [layer.trainable for layer in model.layers]) == before


def test_a_real_network_trains_its_normalisation():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    model = kerastl.build_classifier(backbone, CLASSES)
    train_only(model, "norm")
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == 27
    assert trains(model) - HEAD == {w.path for x in norms for w in (x.gamma, x.beta)}


def test_a_bias_of_the_head_is_none_of_the_backbones():
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(images)
    network = keras.Model(images, x, name="bare")
    model = kerastl.build_classifier(network, CLASSES, preprocessing="tf")
    with pytest.raises(ValueError, match="has no layer with a bias"):
        train_only(model, "bias")
