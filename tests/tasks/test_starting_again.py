"""What a model starts from: a tuned one or its file, a backbone, another model."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import CLASSES, outputs, pixels, small_classifier, small_network, values

import kerastl
from kerastl.models.adapting import adapt_backbone
from kerastl.models.lora import add_lora
from kerastl.models.record import find_record


def below(model):
    """What the model's backbone makes of images of its size."""
    first = model.get_layer(find_record(model).head_layers[0])
    size = model.input_shape[1]
    return outputs(keras.Model(model.input, first.input), pixels(size=size))


def shift(model):
    model.set_weights([array + 0.05 for array in model.get_weights()])


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    """A MobileNet of another width than its default, moved away from its start."""
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, weights="tiny", image_size=32
    )
    model = kerastl.build_classifier(backbone, CLASSES)
    first = model.get_layer("conv1")
    first.set_weights([array + 0.1 for array in first.get_weights()])
    path = tmp_path_factory.mktemp("tuned") / "m.keras"
    kerastl.save_model(model, path)
    return path, model


def test_a_tuned_model_starts_one_for_other_classes():
    model = small_classifier(learnt=True)
    before = values(model)
    with pytest.warns(UserWarning, match=r"head of small_classifier \(ash, beech"):
        new = kerastl.build_classifier(model, ("one", "two"))
    assert kerastl.class_names(new) == ("one", "two")
    np.testing.assert_array_equal(below(new), below(model))
    shift(new)
    for old, now in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, now)


def test_adapters_of_a_tuned_model_are_in_the_kernels_of_the_next():
    model = small_classifier()
    add_lora(model, rank=2, alpha=6)
    for layer in model.layers:
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    with pytest.warns(UserWarning, match="head of"):
        new = kerastl.build_classifier(model, 2)
    assert not any(getattr(layer, "lora_enabled", False) for layer in new.layers)
    np.testing.assert_allclose(below(new), below(model), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The head of")
@pytest.mark.parametrize("way", ["weights", "name", "backbone", "text"])
def test_the_file_of_a_tuned_model_is_a_start(tiny_file, way):
    path, tuned = tiny_file
    if way == "weights":
        network = kerastl.build_backbone("mobilenet", weights=path)
        model = kerastl.build_classifier(network, 2)
    elif way == "name":
        model = kerastl.build_classifier(kerastl.build_backbone(path), 2)
    else:
        model = kerastl.build_classifier(
            path if way == "backbone" else str(path), 2, weights=None, seed=1
        )
    np.testing.assert_array_equal(below(model), below(tuned))
    assert find_record(model).weights == "m.keras"


@pytest.mark.filterwarnings("ignore:The head of")
def test_a_tuned_file_serves_another_image_size(tiny_file):
    network = kerastl.build_backbone("MobileNet", weights=tiny_file[0], image_size=64)
    assert network.input_shape == (None, 64, 64, 3)
    assert find_record(kerastl.build_classifier(network, 2)).image_size == (64, 64)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("MobileNetV2", {}, "a model tuned from MobileNetV2.*built on MobileNet"),
        ("MobileNet", {"alpha": 0.25}, "`alpha` must be None for a tuned model"),
        ("MobileNet", {"image_size": 8}, "`image_size` must be at least 32"),
    ],
)
def test_what_a_tuned_file_cannot_serve_is_said(tiny_file, name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kerastl.build_backbone(name, weights=tiny_file[0], **options)


def test_a_file_that_is_no_model_is_named(tmp_path):
    bad = tmp_path / "bad.keras"
    bad.write_bytes(b"nope")
    with pytest.raises(ValueError, match=r"`weights` must be .*bad\.keras"):
        kerastl.build_backbone("MobileNet", weights=bad)
    with pytest.raises(FileNotFoundError, match=r"none\.keras"):
        kerastl.build_backbone(tmp_path / "none.keras")


def test_two_models_on_one_backbone_share_nothing():
    backbone = adapt_backbone(small_network(), preprocessing="tf")
    one, two = (kerastl.build_classifier(backbone, 2) for _ in range(2))
    before = values(two)
    np.testing.assert_array_equal(below(one), below(two))
    shift(one)
    for old, now in zip(before, values(two), strict=True):
        np.testing.assert_array_equal(old, now)


# Other people's networks.


def foreign(head, extra=()):
    """A finished model as a user may write it."""
    x = images = keras.Input((16, 16, 3))
    for layer in (*extra, layers.Rescaling(1 / 255), small_network()):
        x = layer(x)
    x = layers.GlobalAveragePooling2D()(x)
    for layer in head:
        x = layer(x)
    return keras.Model(images, x, name="theirs")


@pytest.mark.parametrize(
    ("task", "names", "head"),
    [
        ("multiclass", CLASSES, [layers.Dense(3, activation="softmax")]),
        ("multiclass", CLASSES, [layers.Dense(3)]),
        ("multiclass", CLASSES, [layers.Dense(3), layers.Softmax()]),
        ("multiclass", CLASSES, [layers.Dense(3), keras.ops.softmax]),
        ("binary", CLASSES[:2], [layers.Dense(1), layers.Activation("sigmoid")]),
        ("multilabel", CLASSES, [layers.Dense(3, activation="sigmoid")]),
    ],
)
def test_a_finished_model_gets_names(task, names, head, tmp_path):
    model = foreign(head)
    known = kerastl.adapt_model(model, names, task=task)
    answers = outputs(model, pixels())
    found = kerastl.predict(known, pixels())
    if len(head) == 1 and head[0].activation.__name__ == "linear":
        answers = np.asarray(keras.ops.softmax(answers))
    if task == "binary":
        answers = np.concatenate([1 - answers, answers], axis=1)
    np.testing.assert_allclose(found.probabilities, answers, rtol=1e-4, atol=1e-6)
    kerastl.save_model(known, tmp_path / "theirs.keras")
    again = kerastl.load_model(tmp_path / "theirs.keras")
    np.testing.assert_array_equal(outputs(again, pixels()), outputs(known, pixels()))
    kerastl.freeze(known)
    assert {v.path.split("/")[0] for v in known.trainable_variables} == {head[0].name}


# Random weights may know nothing that a temperature could mend.
@pytest.mark.filterwarnings("ignore:The temperature stays 1")
def test_a_finished_model_is_scored_calibrated_and_tuned():
    known = kerastl.adapt_model(foreign([layers.Dense(3)]), CLASSES)
    data = kerastl.ImageSet(pixels(9), np.arange(9) % 3, CLASSES)
    history = kerastl.fine_tune(known, data, recipe="linear_probe", epochs=1, verbose=0)
    assert len(history.phases[0].moved) == 2
    before = kerastl.evaluate(known, data).accuracy
    assert kerastl.calibrate(known, data).images == 9
    assert kerastl.evaluate(known, data).accuracy == before


@pytest.mark.parametrize(
    ("head", "options", "sentence"),
    [
        ([layers.Dense(2)], {}, r"ends in \(n, 3\) for the multiclass task"),
        ([layers.Dense(3, "sigmoid")], {}, r"`task` must be 'binary' or 'multilabel'"),
        ([layers.Dense(3, "softmax")], {"task": "multilabel"}, r"must be 'multiclass'"),
        ([layers.Dense(3)], {"preprocessing": "tf"}, "scales by itself"),
    ],
)
def test_a_finished_model_of_another_task_is_refused(head, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kerastl.adapt_model(foreign(head), CLASSES, **options)


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip(),
        layers.RandomRotation(0.2),
        layers.RandomTranslation(0.2, 0.2),
        keras.Sequential([keras.Input((16, 16, 3)), layers.RandomZoom(0.3)]),
    ],
)
def test_augmentation_inside_a_model_is_left_out_and_said(layer):
    model = foreign([layers.Dense(3)], [layer])
    with pytest.warns(UserWarning, match=r"Left out of the copy of theirs: random_"):
        known = kerastl.adapt_model(model, CLASSES)
    plain = outputs(model, pixels())
    for training in (None, False):
        made = known(pixels().astype("float32"), training=training)
        np.testing.assert_allclose(np.asarray(made), plain, rtol=1e-4, atol=1e-5)


def test_augmentation_that_changes_the_size_is_refused():
    network = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.RandomCrop(12, 12), layers.Conv2D(2, 3)]
    )
    with pytest.raises(ValueError, match="random layers that change the images' size"):
        adapt_backbone(network, preprocessing="tf")


def test_a_scaling_learnt_from_data_is_copied():
    normal = layers.Normalization()
    normal.adapt(pixels().astype("float32"))
    x = keras.Input((16, 16, 3))
    model = keras.Model(x, layers.Conv2D(2, 3)(normal(x)))
    np.testing.assert_allclose(
        outputs(adapt_backbone(model, preprocessing="none"), pixels()),
        outputs(model, pixels()),
        rtol=1e-5,
        atol=1e-5,
    )


def test_models_on_one_backbone_share_neither_weights_nor_flags():
    backbone = adapt_backbone(small_network(), preprocessing="tf")
    first = kerastl.build_classifier(backbone, CLASSES, seed=0)
    kerastl.unfreeze(first, "all")
    start = values(backbone)
    second = kerastl.build_classifier(backbone, CLASSES, seed=0)
    kept = second.get_layer(backbone.layers[-1].name)
    assert kept is not backbone.layers[-1] and not second.trainable_variables[2:]
    shift(first)
    for old, now in zip(start, values(second), strict=False):
        np.testing.assert_array_equal(old, now)


def test_a_backbone_that_has_trained_meanwhile_is_said():
    backbone = adapt_backbone(small_network(), preprocessing="tf")
    first = kerastl.build_classifier(backbone, CLASSES)
    kerastl.build_classifier(backbone, CLASSES)  # As it was: nothing is said.
    last = [layer for layer in backbone.layers if layer.weights][-1]
    lower = keras.Model(backbone.input, last.input)
    kerastl.build_classifier(lower, CLASSES)  # Nor of a part of it.
    shift(first)
    with pytest.warns(UserWarning, match="has been trained since"):
        kerastl.build_classifier(lower, CLASSES)
    with pytest.warns(UserWarning, match="has been trained since"):
        second = kerastl.build_classifier(backbone, CLASSES)
    np.testing.assert_array_equal(below(second), below(first))


def test_a_clone_without_weights_is_said_before_it_trains():
    given = {"alpha": 0.25, "weights": "tiny", "image_size": 32}
    model = kerastl.build_classifier("MobileNet", CLASSES, **given)
    copy = keras.models.clone_model(model)
    labels = np.arange(8) % len(CLASSES)
    given = {"recipe": "linear_probe", "epochs": 1, "verbose": 0}
    with pytest.warns(UserWarning, match="clone_model"):
        kerastl.fine_tune(copy, (pixels(8, 32), labels), **given)
    copy.set_weights(model.get_weights())
    kerastl.fine_tune(copy, (pixels(8, 32), labels), **given)
