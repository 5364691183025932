"""A file of adapters fits one backbone, and training goes on from it bit by bit."""

import json

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
    teach_head,
    trains,
    values,
)

import kerastl
from kerastl.models.lora import add_lora, load_adapters, merge_lora, save_adapters
from kerastl.models.record import set_temperature


@pytest.fixture
def path(tmp_path):
    return tmp_path / "adapters.npz"


@pytest.fixture
def twins():
    """Two classifiers on the same weights; the first has adapters and has trained."""
    model = small_classifier(learnt=True, dropout=0)
    dense = model.get_layer("head_dense")
    # A tenth: sure of nothing, so that training does not begin with wild steps.
    dense.set_weights([0.1 * weight for weight in dense.get_weights()])
    twin = small_classifier(dropout=0)
    twin.set_weights(model.get_weights())
    # The head of the second is another: the file brings its own.
    teach_head(twin, seed=1)
    add_lora(model, rank=2, alpha=3.0, blocks=2)
    fit(model, 3)
    return model, twin


def fit(model, steps, compile_first=True):
    if compile_first:
        model.compile(
            keras.optimizers.SGD(0.02),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
    images, labels = coloured(3)
    return [
        float(np.ravel(model.train_on_batch(images.astype("float32"), labels))[0])
        for _ in range(steps)
    ]


def test_what_is_read_is_what_was_written(twins, path):
    model, twin = twins
    save_adapters(model, path)
    load_adapters(twin, path)
    assert_same_weights(twin, values(model))
    np.testing.assert_array_equal(outputs(twin, pixels()), outputs(model, pixels()))
    assert trains(twin) == trains(model)
    layer = twin.get_layer("conv2")
    assert (layer.lora_rank, layer.lora_alpha) == (2, 3.0)
    assert not twin.get_layer("conv1").lora_enabled


def test_the_next_steps_are_those_of_a_training_that_never_stopped(twins, path):
    model, twin = twins
    save_adapters(model, path)
    load_adapters(twin, path)
    fit(model, 3, compile_first=False)
    fit(twin, 3)
    for one, other in zip(values(model), values(twin), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)


def test_training_goes_on_to_lower_the_loss(twins, path):
    model, twin = twins
    save_adapters(model, path)
    load_adapters(twin, path)
    losses = fit(twin, 8)
    assert losses[-1] < losses[0]


def test_adapters_are_read_over_those_of_the_same_layers(twins, path):
    model, twin = twins
    save_adapters(model, path)
    add_lora(twin, rank=2, blocks=2, seed=5)
    load_adapters(twin, path)
    assert_same_weights(twin, values(model))
    assert twin.get_layer("conv2").lora_alpha == 3.0


def test_a_calibrated_head_stays_calibrated(twins, path):
    model, twin = twins
    set_temperature(model, 2.5)
    save_adapters(model, path)
    load_adapters(twin, path)
    np.testing.assert_array_equal(outputs(twin, pixels()), outputs(model, pixels()))


def test_the_file_is_a_small_part_of_the_models(path):
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )
    model = kerastl.build_classifier(backbone, CLASSES)
    report = add_lora(model, rank=2)
    save_adapters(model, path)
    head = 256 * 3 + 3
    assert path.stat().st_size < 4 * (report.added + head) + 20_000


def test_names_that_keras_made_up_do_not_matter(path):
    def build():
        x = images = keras.Input((8, 8, 3))
        for _ in range(2):
            x = layers.Conv2D(4, 3, padding="same")(x)
            x = layers.LayerNormalization()(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(images, layers.Dense(2)(x))

    model, twin = build(), build()
    twin.set_weights(model.get_weights())
    add_lora(model, rank=2)
    for layer in model.layers:
        if getattr(layer, "lora_enabled", False):
            layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    save_adapters(model, path)
    load_adapters(twin, path)
    images = pixels(size=8)
    np.testing.assert_allclose(
        outputs(twin, images), outputs(model, images), rtol=1e-5, atol=1e-5
    )


def test_layers_inside_layers_are_read_back(path):
    def build():
        x = images = keras.Input((4, 4, 6))
        x = layers.Reshape((16, 6))(x)
        x = layers.MultiHeadAttention(2, 3)(x, x)
        x = layers.GlobalAveragePooling1D()(x)
        return keras.Model(images, layers.Dense(2)(x))

    model, twin = build(), build()
    twin.set_weights(model.get_weights())
    add_lora(model, rank=2)
    save_adapters(model, path)
    load_adapters(twin, path)
    assert_same_weights(twin, values(model))


def test_a_classifier_read_back_from_a_plain_file_takes_its_adapters(twins, path):
    model, twin = twins
    save_adapters(model, path)
    kerastl.save_model(twin, path.with_name("base.keras"))
    loaded = kerastl.load_model(path.with_name("base.keras"))
    load_adapters(loaded, path)
    np.testing.assert_allclose(
        outputs(loaded, pixels()), outputs(model, pixels()), rtol=1e-5, atol=1e-5
    )


def refused(twin, path, sentence, error=ValueError):
    before, flags = values(twin), trains(twin)
    with pytest.raises(error, match=sentence):
        load_adapters(twin, path)
    assert_same_weights(twin, before)
    assert trains(twin) == flags


def test_another_backbone_is_refused(twins, path):
    model, twin = twins
    save_adapters(model, path)
    kernel = twin.get_layer("conv1").weights[0]
    kernel.assign(np.nextafter(np.asarray(kernel), np.float32(9)))
    refused(twin, path, "adapters of this backbone.*build the model as it was")


def test_a_statistic_that_differs_is_another_backbone(twins, path):
    model, twin = twins
    save_adapters(model, path)
    twin.get_layer("bn3").moving_mean.assign(np.ones(4))
    refused(twin, path, "adapters of this backbone")


def test_another_scaling_of_the_pixels_is_another_backbone(twins, path):
    model, _ = twins
    save_adapters(model, path)
    other = kerastl.build_classifier(
        small_network(), CLASSES, preprocessing="torch", dropout=0
    )
    base = small_classifier(dropout=0)
    fresh = [w for w in model.weights if "lora" not in w.path]
    for model_, sentence in ((base, ""), (other, "adapters of this backbone")):
        model_.set_weights([np.asarray(w) for w in fresh])
        if sentence:
            refused(model_, path, sentence)
        else:
            load_adapters(model_, path)


def test_merged_adapters_do_not_fit_their_own_result(twins, path):
    model, _ = twins
    save_adapters(model, path)
    merge_lora(model)
    refused(model, path, "adapters of this backbone")


def test_other_classes_are_refused(twins, path):
    model, _ = twins
    save_adapters(model, path)
    other = small_classifier(("ash", "beech", "oak"), dropout=0)
    base = [w for w in model.weights if "lora" not in w.path]
    other.set_weights([np.asarray(w) for w in base])
    refused(other, path, r"for the classes \['ash', 'beech', 'oak'\]")


def test_another_head_is_refused(twins, path):
    model, _ = twins
    save_adapters(model, path)
    other = small_classifier(hidden=(5,), dropout=0)
    for layer in model.layers:
        if layer.name.startswith(("conv", "bn")):
            weights = [w for w in layer.weights if "lora" not in w.path]
            other.get_layer(layer.name).set_weights([np.asarray(w) for w in weights])
    refused(other, path, r"for a head of shapes .*\(4, 5\)")


def other_head(model, **options):
    """A classifier on the same backbone weights, with its head of another kind."""
    other = small_classifier(dropout=0, **options)
    other.set_weights([np.asarray(w) for w in model.weights if "lora" not in w.path])
    return other


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"task": "multilabel"}, "for the task 'multilabel'.*task is 'multiclass'"),
        ({"pooling": "max"}, "for a head of GlobalMaxPooling2D.*GlobalAveragePooling"),
    ],
)
def test_a_head_of_another_kind_is_refused(twins, path, options, sentence):
    save_adapters(twins[0], path)
    refused(other_head(twins[0], **options), path, sentence)


def test_a_file_from_before_kinds_were_kept_is_still_read(twins, path):
    model, twin = twins
    save_adapters(model, path)
    with np.load(path) as file:
        arrays = dict(file)
    record = json.loads(str(arrays.pop("record")))
    old = {k: v for k, v in record.items() if k not in ("task", "head_kinds")}
    assert len(old) == len(record) - 2
    np.savez(path, record=np.array(json.dumps(old)), **arrays)
    load_adapters(twin, path)
    assert_same_weights(twin, values(model))


def test_image_size_policy_and_dropout_are_the_models_own(twins, path):
    save_adapters(twins[0], path)
    other = kerastl.build_classifier(
        small_network(size=24), CLASSES, preprocessing="tf", resize="pad", dropout=0.5
    )
    fresh = [w for w in twins[0].weights if "lora" not in w.path]
    other.set_weights([np.asarray(w) for w in fresh])
    load_adapters(other, path)
    assert_same_weights(other, values(twins[0]))


@pytest.mark.parametrize("settings", [{"rank": 1, "blocks": 2}, {"rank": 2}])
def test_other_adapters_are_refused(twins, path, settings):
    model, twin = twins
    save_adapters(model, path)
    add_lora(twin, **settings)
    refused(twin, path, "without adapters, or with those of the file")


def test_a_missing_file_is_refused(twins, path):
    refused(twins[1], path, "a file that save_adapters wrote", FileNotFoundError)


def test_other_files_are_refused(twins, path):
    model, twin = twins
    path.write_bytes(b"nothing")
    refused(twin, path, "It is no .npz archive")
    np.savez(path, weights=np.ones(3))
    refused(twin, path, "another file, or damaged")
    np.savez(path, record=np.array('{"format": 99}'))
    refused(twin, path, "another version")
    save_adapters(model, path)
    path.write_bytes(path.read_bytes()[:-60])
    refused(twin, path, "save_adapters wrote")


def test_a_file_without_all_its_arrays_is_refused(twins, path):
    model, twin = twins
    save_adapters(model, path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "b1"}
    assert len(arrays) == 1 + 4 + 2 - 1
    np.savez(path, **arrays)
    refused(twin, path, "another file, or damaged")


def test_a_pickle_is_not_read(twins, path):
    record = np.array([{"format": 1}], dtype=object)
    np.savez(path, record=record)
    refused(twins[1], path, "another file, or damaged")


def test_a_failed_write_leaves_the_old_file(twins, path, monkeypatch):
    save_adapters(twins[0], path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_adapters(twins[0], path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_is_replaced_unless_it_may_not_be(twins, path):
    save_adapters(twins[0], path)
    save_adapters(twins[0], path)
    with pytest.raises(ValueError, match="Pass overwrite=True"):
        save_adapters(twins[0], path, overwrite=False)


def test_other_names_and_missing_folders_are_refused(twins, tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.npz"):
        save_adapters(twins[0], tmp_path / "adapters.h5")
    with pytest.raises(FileNotFoundError, match="Make the folder"):
        save_adapters(twins[0], tmp_path / "nowhere" / "adapters.npz")


def test_a_model_without_adapters_has_none_to_save(twins, path):
    with pytest.raises(ValueError, match=r"Call kerastl\.lora\.add first"):
        save_adapters(twins[1], path)
    assert not path.exists()
