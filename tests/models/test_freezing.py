"""Exactly the named weights train, in flat, nested and composite models."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    outputs,
    pixels,
    small_classifier,
    small_network,
    trains,
    values,
)

import kerastl
from kerastl.models.freezing import head_layers, model_blocks, resolve_trainable
from kerastl.models.layers import is_holding_statistics

HEAD = {"head_dense/kernel", "head_dense/bias"}


def convolutions(*numbers):
    return {f"conv{number}/kernel" for number in numbers}


def norms(*numbers):
    return {f"bn{number}/{name}" for number in numbers for name in ("gamma", "beta")}


def unfrozen(trainable, batch_norm="frozen", model=None):
    model = model or small_classifier()
    kerastl.unfreeze(model, trainable, batch_norm=batch_norm)
    return trains(model)


def test_freeze_leaves_exactly_the_head():
    model = small_classifier(hidden=(4,))
    kerastl.unfreeze(model, "all")
    kerastl.freeze(model)
    hidden = {"head_hidden_1/kernel", "head_hidden_1/bias"}
    assert trains(model) == HEAD | hidden


@pytest.mark.parametrize(
    ("trainable", "numbers"),
    [
        ("head", ()),
        (0, ()),
        (1, (3,)),
        (2, (2, 3)),
        (3, (1, 2, 3)),
        ("all", (1, 2, 3)),
        ("block_2", (2, 3)),
        ("conv2", (2, 3)),
        ("bn2", (3,)),
        (("block_2",), (2,)),
        (("conv1", "block_3"), (1, 3)),
        (["conv1"], (1,)),
        ((), ()),
    ],
)
def test_exactly_the_named_part_and_the_head_train(trainable, numbers):
    assert unfrozen(trainable) == HEAD | convolutions(*numbers)


def test_what_was_unfrozen_before_does_not_matter():
    model = small_classifier()
    unfrozen("all", "train", model)
    assert unfrozen(1, "frozen", model) == HEAD | convolutions(3)


@pytest.mark.parametrize(
    ("batch_norm", "extra"),
    [("frozen", set()), ("affine", norms(2, 3)), ("train", norms(2, 3))],
)
def test_batch_norm_trains_as_asked(batch_norm, extra):
    assert unfrozen(2, batch_norm) == HEAD | convolutions(2, 3) | extra


def test_batch_norm_named_alone_trains_alone():
    assert unfrozen(("bn2",), "affine") == HEAD | norms(2)


def statistics_that_move(model):
    before = values(model)
    outputs(model, pixels(), training=True)
    pairs = zip(model.weights, before, values(model), strict=True)
    return {w.path for w, old, new in pairs if not np.array_equal(old, new)}


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_statistics_move_only_where_batch_norm_trains(batch_norm):
    model = small_classifier()
    kerastl.unfreeze(model, 2, batch_norm=batch_norm)
    moving = {f"bn{n}/moving_{name}" for n in (2, 3) for name in ("mean", "variance")}
    assert statistics_that_move(model) == (moving if batch_norm == "train" else set())


@pytest.mark.parametrize("batch_norm", ["frozen", "affine", "train"])
def test_batch_norm_modes_survive_save_and_load(batch_norm, tmp_path):
    model = small_classifier()
    kerastl.unfreeze(model, 1, batch_norm=batch_norm)
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert trains(loaded) == trains(model)
    moving = {"bn3/moving_mean", "bn3/moving_variance"}
    assert statistics_that_move(loaded) == (moving if batch_norm == "train" else set())


def test_auto_holds_statistics_of_loaded_weights_and_trains_random_ones():
    assert not unfrozen("all", "auto") & norms(1, 2, 3)
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    model = kerastl.build_classifier(backbone, CLASSES)
    kerastl.unfreeze(model, "all")
    assert "conv1_bn/gamma" in trains(model)
    assert not is_holding_statistics(model.get_layer("conv1_bn"))


def test_held_statistics_are_let_go():
    model = small_classifier()
    kerastl.unfreeze(model, "all", batch_norm="affine")
    assert is_holding_statistics(model.get_layer("bn1"))
    kerastl.unfreeze(model, "all", batch_norm="train")
    assert not is_holding_statistics(model.get_layer("bn1"))


def test_batch_norm_of_the_head_trains_in_every_mode():
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="conv")(images)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    kerastl.unfreeze(model, "head", batch_norm="frozen")
    assert {"norm/gamma", "norm/beta"} <= trains(model)


def nested_model():
    """A head on a nested network, as the Keras guide builds it."""
    images = keras.Input((16, 16, 3))
    x = small_network(name="body")(images)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(3, name="dense")(x))


@pytest.mark.parametrize(
    ("trainable", "numbers"),
    [("head", ()), (("conv2",), (2,)), ("all", (1, 2, 3))],
)
def test_nested_models_are_frozen_on_their_leaves(trainable, numbers):
    model = nested_model()
    head = {"dense/kernel", "dense/bias"}
    assert unfrozen(trainable, model=model) == head | convolutions(*numbers)


def test_a_nested_model_frozen_by_hand_is_opened_again():
    model = nested_model()
    model.get_layer("body").trainable = False
    assert convolutions(3) <= unfrozen("all", model=model)


def test_statistics_of_a_frozen_nested_model_stay():
    model = nested_model()
    kerastl.freeze(model)
    assert statistics_that_move(model) == set()


def test_layers_of_one_name_are_refused():
    images = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(small_network()(images))
    model = keras.Model(images, layers.Dense(2, name="conv1")(x))
    with pytest.raises(ValueError, match=r"distinct names. Received: .*\['conv1'\]"):
        kerastl.freeze(model)


def test_the_head_of_a_foreign_model_begins_where_images_end():
    assert head_layers(nested_model()) == ("pool", "dense")
    assert head_layers(small_network()) == ()


@pytest.mark.parametrize(
    ("trainable", "numbers"),
    [
        ("age", ()),
        (["age"], ()),
        (("flat",), ()),
        (("age", "conv3"), (3,)),
        (("block_3", "flat"), (3,)),
    ],
)
def test_a_layer_of_the_head_may_be_named_as_it_trains_anyway(trainable, numbers):
    network = small_network()
    flat = layers.GlobalAveragePooling2D(name="flat")(network.output)
    model = keras.Model(network.input, layers.Dense(1, name="age")(flat))
    kerastl.unfreeze(model, trainable, batch_norm="frozen")
    assert trains(model) == {"age/kernel", "age/bias"} | convolutions(*numbers)


def test_a_bare_backbone_is_frozen_whole():
    model = small_network()
    kerastl.freeze(model)
    assert trains(model) == set()


def test_blocks_hold_every_layer_but_the_heads_once():
    model = small_classifier()
    members = [name for names in model_blocks(model).values() for name in names]
    every = {layer.name for layer in model.layers}
    assert len(members) == len(set(members))
    assert set(members) == every - set(head_layers(model))


def test_the_blocks_of_a_registered_network_are_its_own():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    model = kerastl.build_classifier(backbone, CLASSES)
    kerastl.unfreeze(model, "block_12", batch_norm="frozen")
    kernels = {f"conv_{kind}_{n}/kernel" for kind in ("dw", "pw") for n in (12, 13)}
    assert trains(model) == HEAD | kernels


class Composite(layers.Layer):
    """A layer of layers: convolution, BatchNorm and dropout."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.conv = layers.Conv2D(4, 1, name="inner")
        self.norm = layers.BatchNormalization(name="inner_norm")
        self.drop = layers.Dropout(0.5)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.norm.build((*input_shape[:-1], 4))

    def call(self, x, training=None):
        return self.drop(self.norm(self.conv(x), training=training), training=training)


def test_layers_inside_layers_are_frozen_too():
    model = small_classifier(extra=Composite(name="part"), dropout=0, learnt=True)
    assert trains(model) == HEAD
    first, second = (outputs(model, pixels(), training=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert statistics_that_move(model) == set()


def test_layers_inside_layers_are_thawed_by_the_rules():
    model = small_classifier(extra=Composite(name="part"))
    kerastl.unfreeze(model, ("part",), batch_norm="affine")
    inside = {path for path in trains(model) - HEAD if path.startswith("part/")}
    assert inside == trains(model) - HEAD
    assert {path.rsplit("/", 1)[1] for path in inside} == {
        "kernel",
        "bias",
        "gamma",
        "beta",
    }
    assert statistics_that_move(model) == set()


class OwnDropout(layers.Dropout):
    """A user's dropout."""


class StochasticDepth(layers.Layer):
    """A user's stochastic depth, as keras-cv and keras-hub each have one."""

    def call(self, x, training=None):
        return x * keras.random.uniform(keras.ops.shape(x)) if training else x


NOISE = {
    "dropout": lambda: layers.Dropout(0.5, name="noise"),
    "spatial": lambda: layers.SpatialDropout2D(0.5, name="noise"),
    "subclass": lambda: OwnDropout(0.5, name="noise"),
    "depth": lambda: StochasticDepth(name="noise"),
}


@pytest.mark.parametrize("kind", NOISE)
def test_frozen_noise_is_deterministic_and_comes_back(kind):
    model = small_classifier(extra=NOISE[kind](), dropout=0, learnt=True)
    calm = outputs(model, pixels())
    np.testing.assert_allclose(outputs(model, pixels(), training=True), calm, rtol=1e-5)
    kerastl.unfreeze(model, ("noise",))
    assert not np.allclose(outputs(model, pixels(), training=True), calm)


def test_freezing_changes_no_weight_and_no_output():
    model = small_classifier(extra=layers.Dropout(0.5), learnt=True)
    before, calm = values(model), outputs(model, pixels())
    for trainable, batch_norm in (("all", "affine"), (1, "train"), ("head", "auto")):
        kerastl.unfreeze(model, trainable, batch_norm=batch_norm)
        np.testing.assert_array_equal(outputs(model, pixels()), calm)
    assert_same_weights(model, before)


def test_a_shared_layer_trains_where_it_is_named():
    shared = layers.Conv2D(3, 1, name="shared")
    images = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(name="pool")(shared(shared(images)))
    model = keras.Model(images, layers.Dense(2, name="dense")(x))
    kerastl.unfreeze(model, ("shared",))
    assert {"shared/kernel", "shared/bias"} < trains(model)
    kerastl.freeze(model)
    assert trains(model) == {"dense/kernel", "dense/bias"}


def branched_network():
    """Blocks `conv1`, `conv2a`, `conv2b` and `conv20`, each a convolution and ReLU."""
    x = images = keras.Input((16, 16, 3))
    for name in ("conv1", "conv2a", "conv2b", "conv20"):
        x = layers.Conv2D(3, 3, padding="same", name=f"{name}_conv")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(images, x)


@pytest.mark.parametrize(
    ("trainable", "blocks"),
    [
        ("conv2a", ("conv2a", "conv2b", "conv20")),
        (("conv2a",), ("conv2a",)),
        (("conv2a", "conv1"), ("conv2a", "conv1")),
        (("conv20",), ("conv20",)),
    ],
)
def test_what_the_layers_of_whole_blocks_begin_with_is_a_name(trainable, blocks):
    model = kerastl.build_classifier(branched_network(), 2, preprocessing="tf")
    kerastl.unfreeze(model, trainable)
    wanted = {f"{name}_conv/{part}" for name in blocks for part in ("kernel", "bias")}
    assert trains(model) == wanted | {"head_dense/kernel", "head_dense/bias"}


@pytest.mark.parametrize(
    ("network", "name", "found"),
    [
        ("EfficientNetB0", "block7", ["block7a"]),
        ("EfficientNetB0", "block2", ["block2a", "block2b"]),
        ("ResNet50", "conv5", ["conv5_block1", "conv5_block2", "conv5_block3"]),
    ],
)
def test_a_group_of_blocks_has_the_name_that_theirs_begin_with(network, name, found):
    model = kerastl.build_backbone(network, weights=None, image_size=32)
    parts = model_blocks(model)
    wanted = {layer for block in found for layer in parts[block]}
    assert resolve_trainable(model, (name,)) == wanted


@pytest.mark.parametrize("name", ["block", "onv2", "block_", "", "co"])
def test_a_part_of_a_name_is_no_name(name):
    model = kerastl.build_classifier(small_network(), 2, preprocessing="tf")
    with pytest.raises(ValueError, match="`trainable` must be"):
        kerastl.unfreeze(model, name)


@pytest.mark.parametrize(
    ("trainable", "error", "sentence"),
    [
        ("conv22", ValueError, r"Received: trainable='conv22'. Did you mean 'conv2'\?"),
        ("blok_3", ValueError, r"Did you mean 'block_3'\?"),
        ("xyz", ValueError, "The last blocks are: block_1, block_2, block_3"),
        (("conv1", "bn22"), ValueError, r"'bn22'. Did you mean 'bn2'\?"),
        (4, ValueError, "at most 3.*This backbone has 3 blocks"),
        (-1, ValueError, "`trainable` must be at least 0"),
        (True, TypeError, "`trainable` must be an integer"),
        (1.0, TypeError, "`trainable` must be an integer"),
    ],
)
def test_what_names_nothing_is_refused(trainable, error, sentence):
    with pytest.raises(error, match=sentence):
        kerastl.unfreeze(small_classifier(), trainable)


def test_a_refused_name_changes_nothing():
    model = small_classifier()
    before = trains(model)
    with pytest.raises(ValueError, match="trainable"):
        kerastl.unfreeze(model, "nowhere")
    assert trains(model) == before


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"`batch_norm` must be one of.*'frozen'\?"):
        kerastl.unfreeze(small_classifier(), 1, batch_norm="freeze")


@pytest.mark.parametrize("model", [keras.Sequential(), "model", None])
def test_a_model_without_a_graph_is_refused(model):
    with pytest.raises(TypeError, match=r"`model` must be a functional keras.Model"):
        kerastl.freeze(model)


def test_resolving_touches_nothing():
    model = small_classifier()
    before = trains(model)
    assert "conv3" in resolve_trainable(model, 1)
    assert trains(model) == before


def test_weights_outside_the_set_stay_in_a_plain_fit():
    model = small_classifier()
    kerastl.unfreeze(model, ("conv2",), batch_norm="frozen")
    model.compile("sgd", model.loss)
    before = values(model)
    images, labels = coloured(2)
    model.fit(images.astype("float32"), labels, epochs=2, verbose=0)
    pairs = zip(model.weights, before, values(model), strict=True)
    moved = {w.path for w, old, new in pairs if not np.array_equal(old, new)}
    assert moved == HEAD | convolutions(2)
