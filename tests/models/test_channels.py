"""Images of other channels than three, from the first kernel to the saved model."""

import numpy as np
import pytest
from networks import outputs, pixels, small_network
from PIL import Image

import kerastl
from kerastl.data.images import PixelStore, resize_images
from kerastl.models.adapting import adapt_backbone, with_channels
from kerastl.models.backbones import build_backbone
from kerastl.models.layers import Preprocessing
from kerastl.models.record import find_record


def tiny(channels, name="MobileNet", **options):
    options = {"weights": "tiny", "alpha": 0.25} | options
    return build_backbone(name, image_size=32, channels=channels, **options)


def classifier(channels, **options):
    network = adapt_backbone(small_network(size=32), preprocessing="tf")
    network = network if channels == 3 else with_channels(network, channels)
    model = kerastl.build_classifier(network, ("a", "b"), **options)
    dense = model.get_layer("head_dense")
    kernel = np.random.default_rng(0).normal(size=dense.kernel.shape)
    dense.set_weights([kernel, np.zeros(dense.bias.shape)])
    return model


def bands(channels, count=6, size=32):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, size, size, channels)).astype("uint8")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MobileNet", {}),
        ("VGG16", {"weights": None, "alpha": None}),
        ("EfficientNetB0", {"weights": None, "alpha": None}),
        ("EfficientNetV2B0", {"weights": None, "alpha": None}),
    ],
)
def test_six_channels_of_twice_the_same_are_the_three(name, options):
    three = tiny(3, name, **options)
    six = with_channels(three, 6)
    images = pixels(2, 32)
    twice = np.concatenate([images, images], axis=-1)
    wanted = outputs(three, images)
    np.testing.assert_allclose(
        outputs(six, twice), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max()
    )


def test_one_channel_is_three_of_the_same():
    grey = bands(1)
    np.testing.assert_allclose(
        outputs(tiny(1), grey),
        outputs(tiny(3), np.repeat(grey, 3, axis=-1)),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_the_first_kernel_is_repeated_and_scaled(channels):
    old, new = (tiny(n).get_layer("conv1").get_weights()[0] for n in (3, channels))
    for k in range(channels):
        wanted = old[:, :, k % 3] * 3 / channels
        np.testing.assert_allclose(new[:, :, k], wanted, rtol=1e-6)


@pytest.mark.parametrize("mode", ["torch", "tf", "none"])
def test_constants_of_channels_repeat(mode):
    images = pixels(2)
    twice = np.concatenate([images, images], axis=-1)
    made = np.asarray(Preprocessing(mode)(images))
    again = np.asarray(Preprocessing(mode)(twice))
    np.testing.assert_allclose(again, np.concatenate([made, made], axis=-1), rtol=1e-6)


@pytest.mark.parametrize(
    ("channels", "resize"), [(1, "crop"), (4, "pad"), (6, "stretch")]
)
def test_arrays_of_these_channels_go_through(channels, resize, tmp_path):
    model = classifier(channels, resize=resize)
    images, labels = bands(channels, size=24), np.arange(6) % 2
    kerastl.fine_tune(
        model, (images, labels), recipe="linear_probe", epochs=1, verbose=0
    )
    path = tmp_path / "m.keras"
    kerastl.save_model(model, path)
    again = kerastl.load_model(path)
    assert find_record(again).channels == channels
    found = kerastl.predict(model, images).probabilities
    np.testing.assert_array_equal(kerastl.predict(again, images).probabilities, found)
    data = kerastl.ImageSet(images, labels, ("a", "b"))
    assert kerastl.evaluate(again, data).images == 6


def test_grey_is_made_of_files_and_colours(tmp_path):
    model = classifier(1)
    image = pixels(1, 32)[0]
    Image.fromarray(image).save(tmp_path / "a.png")
    grey = np.asarray(Image.fromarray(image).convert("L")).astype("float32")
    wanted = kerastl.predict(model, grey[None, :, :, None]).probabilities
    for given in (tmp_path / "a.png", image[None]):
        found = kerastl.predict(model, given).probabilities
        np.testing.assert_allclose(found, wanted, atol=0.03)


@pytest.mark.parametrize("size", [24, 32])
def test_bands_are_resized_apart(size):
    images = bands(4, size=size)
    store = PixelStore(kerastl.ImageSet(images, None, ()), image_size=16, channels=4)
    for k in range(4):
        alone = resize_images(images[..., k], image_size=16)
        np.testing.assert_array_equal(store.rows(np.arange(6))[..., k], alone[..., 0])


@pytest.mark.parametrize(
    ("channels", "given"), [(4, 3), (6, 4), (3, 5), (1, 2), (5, 1)]
)
def test_other_channels_than_the_models_are_refused(channels, given):
    sentence = rf"`images` must be arrays of {channels} channels.*'{given} channels'"
    with pytest.raises(ValueError, match=sentence):
        kerastl.predict(classifier(channels), bands(given))


def test_files_do_not_have_four_channels(tmp_path):
    Image.fromarray(pixels(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="arrays of 4 channels"):
        kerastl.predict(classifier(4), tmp_path / "a.png")


def test_colours_that_are_none_are_not_augmented():
    options = {"recipe": "linear_probe", "epochs": 1, "verbose": 0}
    data = bands(4), np.arange(6) % 2
    for augment in ("standard", "randaugment", "digits"):
        with pytest.raises(ValueError, match=r"`augment` must be one that changes no"):
            kerastl.fine_tune(classifier(4), data, augment=augment, **options)


@pytest.mark.parametrize("channels", [0, -1, 2.5, True])
def test_channels_are_counted(channels):
    with pytest.raises((ValueError, TypeError), match="`channels`"):
        tiny(channels)


QUICK = {"alpha": 0.25, "image_size": 32, "recipe": "linear_probe", "epochs": 1}
QUICK |= {"augment": None, "verbose": 0, "validation": 0.25}


@pytest.mark.parametrize(
    ("given", "asked", "channels"),
    [(5, None, 5), (4, None, 3), (4, 4, 4)],
)
def test_transfer_takes_images_of_any_channels(tmp_path, given, asked, channels):
    data, out = (bands(given, 16), ["a", "b"] * 8), tmp_path / "run"
    options = {"channels": asked, "output": out, "best_size": given == 5}
    result = kerastl.transfer(data, **QUICK, **options)
    # The size is the best one's, which is chosen for bands too.
    assert result.model.input_shape[-1] == channels
    assert result.report["settings"]["channels"] == channels
    stem = result.model.get_layer("conv1").kernel
    np.testing.assert_array_equal(stem, tiny(channels).get_layer("conv1").kernel)
    again = kerastl.load_model(out / "model.keras")
    np.testing.assert_allclose(
        kerastl.predict(again, data[0]).probabilities,
        kerastl.predict(result.model, data[0]).probabilities,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 0}, "at least 1"),
        ({"channels": 1, "recipe": "auto"}, "3 with recipe='auto'"),
        ({"channels": 1, "backbone": small_network()}, "None beside a network"),
    ],
)
def test_channels_that_do_not_fit_are_refused_before_the_data(options, words):
    with pytest.raises(ValueError, match=f"`channels` must be {words}"):
        kerastl.transfer("nowhere", **options)
