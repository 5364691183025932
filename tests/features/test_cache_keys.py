"""Keys of cached features: equal for the same computation, and for no other."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from networks import pixels, small_classifier, small_network

import kerastl
from kerastl.features import keys as cache_keys
from kerastl.features.keys import cache_key, images_key, network_key, views_key
from kerastl.models import layers as own_layers

SIZE = {"image_size": 16, "resize": "stretch"}


def filled(model, seed=0):
    """The model with weights that depend on the seed and their position alone."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    return model


def network(
    filters=4, scale=2.0, skip="first", index=0, dtype=None, rate=0.5, name=None
):
    """A graph with a constant, an index, a shared layer and automatic names."""
    images = keras.Input((8, 8, 3))
    first = layers.Conv2D(filters, 3, padding="same", dtype=dtype)(images)
    shared = layers.Conv2D(filters, 3, padding="same", dtype=dtype, name=name)
    second = shared(shared(first) * scale)
    second = layers.Dropout(rate)(layers.BatchNormalization(dtype=dtype)(second))
    other = first if skip == "first" else second
    joined = layers.Add()([second, other])
    return filled(keras.Model(images, joined[:, index]))


def key(**options):
    return network_key(network(**options))


def test_the_same_network_built_twice_has_one_key():
    assert len({key(), key(), key(name="by_hand")}) == 1


def test_another_process_finds_the_same_key():
    code = """
import keras
keras.layers.Conv2D(1, 1)(keras.Input((4, 4, 1)))  # Counts on the automatic names.
import test_cache_keys
print(test_cache_keys.key())
"""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    paths.append(str(Path(kerastl.__file__).parents[1]))
    settings = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings, "KERAS_BACKEND": keras.backend.backend()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == key()


@pytest.mark.parametrize(
    "change",
    [
        {"filters": 5},
        {"scale": 3.0},
        {"scale": 2},
        {"skip": "second"},
        {"index": 1},
        {"index": slice(0, 1)},
        {"dtype": "bfloat16"},
        {"dtype": "mixed_bfloat16"},
        {"rate": 0.25},
    ],
)
def test_any_change_of_the_computation_changes_the_key(change):
    assert key(**change) != key()


def test_the_parts_of_an_index_count():
    parts = [0, slice(0, 4), slice(1, 4), slice(0, 3), slice(0, 4, 2), ...]
    assert len({key(index=part) for part in parts}) == len(parts)


def test_the_type_and_the_shape_of_the_input_count():
    ends = [keras.Input((4,)), keras.Input((4,), dtype="uint8"), keras.Input((None,))]
    keys = {network_key(keras.Model(x, layers.ReLU()(x))) for x in ends}
    assert len(keys) == 3


def test_the_policy_of_the_model_counts():
    model = network()
    before = network_key(model)
    model.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    assert network_key(model) != before


def test_words_in_a_call_count():
    x, drop = keras.Input((4,)), layers.Dropout(0.5)
    calls = [drop(x), drop(x, training=True)]
    assert len({network_key(keras.Model(x, y)) for y in calls}) == 2


def test_it_counts_which_layer_is_called_again():
    x, a, b = keras.Input((4,)), layers.ReLU(), layers.Activation("tanh")
    ends = [last(b(a(x))) for last in (a, b)]
    assert len({network_key(keras.Model(x, y)) for y in ends}) == 2


def test_the_settings_of_an_operation_count():
    x = keras.Input((4, 4))
    keys = {network_key(keras.Model(x, keras.ops.sum(x, axis=i))) for i in (1, 2)}
    assert len(keys) == 2


def test_one_bit_of_any_weight_changes_the_key():
    model = network()
    seen = {network_key(model)}
    for weight in model.weights:
        array = np.array(weight)
        array.reshape(-1).view("uint32")[-1] ^= 1
        weight.assign(array)
        seen.add(network_key(model))
    assert len(seen) == len(model.weights) + 1


def test_two_weights_that_change_places_change_the_key():
    model = network()
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    before, norm = network_key(model), norms[0]
    gamma, beta = np.array(norm.gamma), np.array(norm.beta)
    norm.gamma.assign(beta)
    norm.beta.assign(gamma)
    assert network_key(model) != before


def test_what_trains_does_not_change_the_key():
    model = small_classifier(extra=layers.SpatialDropout2D(0.5), learnt=True)
    for layer in model.layers:
        layer.trainable = True
    keys = [network_key(model)]
    kerastl.freeze(model)
    keys.append(network_key(model))
    for batch_norm in ("affine", "train", "frozen"):
        kerastl.unfreeze(model, "all", batch_norm=batch_norm)
        keys.append(network_key(model))
    assert len(set(keys)) == 1


def test_the_class_that_freezing_changed_counts_as_before():
    seen = set()
    for hold in (False, True, False):
        norm = layers.BatchNormalization()
        x = keras.Input((4,))
        model = keras.Model(x, norm(x))
        own_layers.hold_statistics(norm, hold)
        seen.add(network_key(model))
    assert len(seen) == 1


def test_freezing_inside_a_model_inside_counts_for_nothing():
    x, drop = keras.Input((4,)), layers.Dropout(0.5)
    body = keras.Sequential([keras.Input((4,)), drop])
    model = keras.Model(x, body(x))
    before = network_key(model)
    own_layers.make_freezable(drop)
    assert type(drop) is not layers.Dropout
    assert network_key(model) == before


def test_cuts_of_one_network_have_keys_of_their_own():
    model = filled(small_network())
    keys = {
        network_key(kerastl.features.truncate(model, f"relu{i}")) for i in (1, 2, 3)
    }
    prefix, suffix = kerastl.features.split_model(model, "relu1")
    assert network_key(prefix) in keys
    assert network_key(suffix) not in keys
    assert len(keys) == 3


def test_the_order_of_the_inputs_counts():
    one, two = keras.Input((4,)), keras.Input((4,))
    x = keras.ops.subtract(one, two)
    keys = {network_key(keras.Model(ends, x)) for ends in ([one, two], [two, one])}
    assert len(keys) == 2


def test_the_order_of_the_outputs_counts():
    x = keras.Input((4,))
    first = layers.ReLU()(x)
    ends = [first, layers.Activation("tanh")(first)]
    assert network_key(keras.Model(x, ends)) != network_key(keras.Model(x, ends[::-1]))


def nested(filters=4, inner=keras.Model, seed=0):
    x = keras.Input((16, 16, 3))
    if inner is keras.Model:
        start = keras.Input((16, 16, 3))
        body = keras.Model(start, layers.Conv2D(filters, 3)(start))
    else:
        body = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(filters, 3)])
    return filled(keras.Model(x, layers.GlobalAveragePooling2D()(body(x))), seed)


@pytest.mark.parametrize("inner", [keras.Model, keras.Sequential])
def test_models_inside_are_described_too(inner):
    same = {network_key(nested(inner=inner)) for _ in range(2)}
    others = {network_key(nested(inner=inner, seed=1))}
    others.add(network_key(nested(5, inner)))
    assert len(same) == 1
    assert len(same | others) == 3


def test_a_sequential_model_has_a_key():
    def made(units):
        return filled(keras.Sequential([keras.Input((4,)), layers.Dense(units)]))

    assert network_key(made(3)) == network_key(made(3))
    assert network_key(made(3)) != network_key(made(2))


def test_layers_inside_layers_may_have_other_names():
    def made(rate=0.0):
        x = keras.Input((5, 4))
        cell = layers.Bidirectional(layers.GRU(3, dropout=rate))
        return filled(keras.Model(x, layers.TimeDistributed(layers.Dense(2))(x)), 1), (
            filled(keras.Model(x, cell(x)), 1)
        )

    first, again, other = ([network_key(m) for m in made(r)] for r in (0.0, 0.0, 0.5))
    assert first == again
    assert first[1] != other[1]


def test_arrays_that_are_no_weights_count():
    def made(mean):
        x, normal = keras.Input((2,)), layers.Normalization(mean=0.0, variance=1.0)
        model = keras.Model(x, normal(x))
        normal.mean = keras.ops.array([mean, 0.0])
        return network_key(model)

    assert made(0.0) == made(0.0) != made(1.0)


def test_arrays_in_a_call_count():
    x = keras.Input((2,))

    def made(value):
        return network_key(keras.Model(x, x + np.array([value, 0.0], "float32")))

    assert made(0.0) == made(0.0) != made(1.0)


class Doubled(layers.Layer):
    def call(self, inputs):
        return 2 * inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def relu(x):
    return 3 * x


def replaced_call(layer):
    layer.call = relu
    return layer


def deeply_replaced(layer):
    layer.settings = {"first": [("relu", functools.partial(relu, 1))]}
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Doubled(),
        lambda: layers.Dense(2, activation=relu),
        lambda: layers.Activation(relu),
        lambda: layers.Lambda(relu),
        lambda: layers.Lambda(lambda x: 3 * x),
        lambda: layers.TimeDistributed(Doubled()),
        lambda: replaced_call(layers.ReLU()),
        lambda: deeply_replaced(layers.ReLU()),
    ],
)
def test_code_that_is_not_of_keras_is_refused(layer):
    x = keras.Input((5, 4))
    model = keras.Model(x, layer()(x))
    with pytest.raises(TypeError, match="`model` must be a network that can be told"):
        network_key(model)


class OwnCall(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class OwnCalling(keras.Model):
    def __call__(self, *args, **kwargs):
        return 2 * super().__call__(*args, **kwargs)


class OwnSequential(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs)


class OwnName(keras.Model):
    pass


def test_a_model_with_a_call_of_its_own_is_refused():
    x = keras.Input((4,))
    for kind in (OwnCall, OwnCalling):
        with pytest.raises(TypeError, match="not of Keras"):
            network_key(kind(x, layers.ReLU()(x)))
    model = keras.Model(x, layers.ReLU()(x))
    plain = network_key(model)
    model.call = relu
    with pytest.raises(TypeError, match="`call` was replaced"):
        network_key(model)
    assert network_key(OwnName(x, layers.ReLU()(x))) == plain


def test_a_sequential_model_with_a_call_of_its_own_is_refused():
    with pytest.raises(TypeError, match="code of its own"):
        network_key(OwnSequential([keras.Input((4,)), layers.ReLU()]))


def test_a_model_that_is_no_graph_is_refused():
    with pytest.raises(TypeError, match="no functional model"):
        network_key(keras.Model())
    with pytest.raises(TypeError, match="no input yet"):
        network_key(keras.Sequential([layers.Dense(2)]))


def test_a_change_of_our_own_layers_changes_the_key(monkeypatch):
    model = small_classifier(learnt=True)
    before = network_key(model)
    from kerastl.features import keys as fingerprints

    monkeypatch.setattr(fingerprints.inspect, "getsource", lambda module: "new")
    fingerprints._version.cache_clear()
    assert network_key(model) != before
    fingerprints._version.cache_clear()


def test_versions_backend_and_device_change_the_key(monkeypatch):
    model = network()
    seen = {network_key(model)}
    for place, name, value in [
        (keras, "__version__", "3.99"),
        (keras.backend, "backend", lambda: "other"),
        (keras.distribution, "list_devices", lambda: ["gpu:0", "cpu:0"]),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            seen.add(cache_keys._kernels())
    seen.add(cache_keys._kernels())
    assert len(seen) == 5
    monkeypatch.setattr(cache_keys, "_kernels", lambda: "other")
    seen.add(network_key(model))
    assert len(seen) == 6


def test_a_key_of_a_network_does_not_change_it():
    model = network()
    names = [layer.name for layer in model.layers]
    before = [np.array(weight) for weight in model.weights]
    network_key(model)
    assert [layer.name for layer in model.layers] == names
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.slow
def test_backbones_of_keras_hub_have_keys():
    keras_hub = pytest.importorskip("keras_hub")

    def made(patch=16):
        return filled(
            keras_hub.models.ViTBackbone(
                image_shape=(32, 32, 3),
                patch_size=patch,
                num_layers=1,
                num_heads=2,
                hidden_dim=8,
                mlp_dim=8,
            )
        )

    assert network_key(made()) == network_key(made()) != network_key(made(8))


# Images


def files(folder, contents):
    from PIL import Image

    folder.mkdir()
    names = [str(folder / f"{number}.png") for number in range(len(contents))]
    for name, image in zip(names, contents, strict=True):
        Image.fromarray(image).save(name)
    return names


def of_files(names, labels=None, class_names=()):
    return images_key(kerastl.ImageSet(tuple(names), labels, class_names), **SIZE)


def of_pixels(images, **options):
    return images_key(kerastl.ImageSet(images, None, ()), **{**SIZE, **options})


def test_the_names_of_files_do_not_count(tmp_path):
    here, there = (files(tmp_path / name, pixels()) for name in ("here", "there"))
    assert of_files(here) == of_files(there)


def test_one_byte_of_a_file_counts(tmp_path):
    names = files(tmp_path / "images", pixels())
    before, last = of_files(names), Path(names[-1])
    data = last.read_bytes()
    last.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert of_files(names) != before


def test_the_order_and_the_number_of_images_count(tmp_path):
    names = files(tmp_path / "images", pixels())
    assert len({of_files(n) for n in (names, names[::-1], names[1:])}) == 3
    images = pixels()
    assert len({of_pixels(i) for i in (images, images[::-1], images[1:])}) == 3


def test_labels_do_not_count(tmp_path):
    names = files(tmp_path / "images", pixels())
    assert of_files(names, np.zeros(6, int), ("a",)) == of_files(names)


def test_one_pixel_counts():
    changed = pixels()
    changed[3, 0, 0, 0] ^= 1
    assert of_pixels(changed) != of_pixels(pixels())


def test_size_and_resize_count():
    ways = [{}, {"image_size": 8}, {"image_size": (8, 16)}, {"resize": "crop"}]
    assert len({of_pixels(pixels(), **way) for way in ways}) == 4
    assert of_pixels(pixels(), image_size=(16, 16)) == of_pixels(pixels())


def test_the_same_bytes_in_another_shape_or_type_count():
    images = pixels()
    other = [
        images.reshape(6, 32, 8, 3),
        images.reshape(6, 8, 32, 3),
        images.view("int8").clip(0),
    ]
    assert len({of_pixels(array) for array in [images, *other]}) == 4


def test_a_change_of_the_decoder_counts(monkeypatch):
    before = of_pixels(pixels())
    monkeypatch.setattr(cache_keys.inspect, "getsource", lambda module: "new")
    assert of_pixels(pixels()) != before


def test_another_pillow_counts(monkeypatch):
    import PIL

    before = of_pixels(pixels())
    monkeypatch.setattr(PIL, "__version__", "99")
    assert of_pixels(pixels()) != before


def test_views_of_a_preset_have_the_key_of_its_numbers(monkeypatch):
    from kerastl.data.augmentation import PRESETS

    before = views_key("light", 0)
    assert before == views_key(PRESETS["light"], 0)
    monkeypatch.setitem(PRESETS, "light", PRESETS["strong"])
    assert views_key("light", 0) == views_key("strong", 0) != before


def test_each_number_and_the_seed_of_views_count():
    from kerastl.data.augmentation import Augmentation

    changes = [{"flip": True}, {"rotation": 1}, {"area": (0.5, 1)}, {"aspect": 2}]
    changes += [{"fill": "nearest"}, {"operations": 1}, {"magnitude": 0.5}]
    changes += [{"translation": 0.1}]
    changes += [{name: 0.1} for name in ("brightness", "contrast", "saturation")]
    seen = {views_key(Augmentation(**each), 0) for each in [{}, *changes]}
    seen |= {views_key(Augmentation(), 1), views_key(None, 0)}
    assert len(seen) == len(changes) + 3
    assert views_key(None, 0) == views_key(None, 1) == ""


def test_numbers_of_numpy_are_the_numbers():
    from kerastl.data.augmentation import Augmentation

    given = Augmentation(rotation=np.float32(0.5), operations=np.int64(2))
    assert views_key(given, 0) == views_key(Augmentation(rotation=0.5, operations=2), 0)


@pytest.mark.parametrize("name", ["augmentation", "batches"])
def test_a_change_of_the_code_that_makes_views_counts(monkeypatch, name):
    before, read = views_key("light", 0), cache_keys.inspect.getsource
    ours = f"kerastl.data.{name}"
    monkeypatch.setattr(
        cache_keys.inspect,
        "getsource",
        lambda module: "new" if module.__name__ == ours else read(module),
    )
    assert views_key("light", 0) != before


def test_another_version_of_what_changes_images_counts_for_views(monkeypatch):
    library = np
    if keras.backend.backend() == "tensorflow":
        import tensorflow as library

    before = views_key("light", 0)
    monkeypatch.setattr(library, "__version__", "99")
    assert views_key("light", 0) != before


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="`image_size` must be"):
        of_pixels(pixels(), image_size=0)
    with pytest.raises(ValueError, match="`resize` must be"):
        of_pixels(pixels(), resize="squeeze")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        of_files([str(tmp_path / "gone.png")])


def test_parts_of_a_key_do_not_run_together():
    parts = [("a", "b"), ("ab",), ("b", "a"), ("a", "b", ""), ('a", "b',), ()]
    assert len({cache_key(*each) for each in parts}) == len(parts)
    assert all(len(cache_key(*each)) == 64 for each in parts)
