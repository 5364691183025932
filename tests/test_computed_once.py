"""A run decodes an image once, and passes it through a frozen network once."""

from collections import Counter

import keras
import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl.data import images as decoding

CLASSES = ("amber", "blue", "clay")
SIDE = 32


@pytest.fixture
def folder(tmp_path):
    """Four training images of each class, two for validation, two for the test."""
    random = np.random.default_rng(0)
    for part, count in {"train": 4, "validation": 2, "test": 2}.items():
        for number, name in enumerate(CLASSES):
            inside = tmp_path / "data" / part / name
            inside.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 60, (SIDE, SIDE, 3), "uint8")
                pixels[..., number] += 150
                Image.fromarray(pixels).save(inside / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def passed(monkeypatch):
    """How often each image has gone through a network in inference mode."""
    seen = Counter()
    original = keras.Model.predict_on_batch

    def counted(model, batch):
        if np.ndim(batch) == 4 and np.shape(batch)[1:] == (SIDE, SIDE, 3):
            # A batch is filled up with copies: they are of one pass.
            seen.update({np.asarray(image).tobytes() for image in batch})
        return original(model, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counted)
    return seen


def passes(seen, images):
    pixels = decoding.load_pixels(images, image_size=SIDE).astype("float32")
    return [seen[image.tobytes()] for image in pixels]


def transferred(folder, **options):
    return kerastl.transfer(
        str(folder),
        alpha=0.25,
        image_size=SIDE,
        epochs=2,
        verbose=0,
        best_size=False,  # Another size is another pass.
        **options,
    )


def test_with_advice_the_frozen_network_sees_a_training_image_once(folder, passed):
    result = transferred(folder, recipe="auto")
    assert result.report["settings"]["recipe"] == "linear_probe"
    assert passes(passed, result.splits.train) == [1] * 12


def test_the_rows_that_advice_kept_give_the_weights_of_uncached_training(folder):
    models = [
        transferred(folder, recipe="auto", cache=cache).model
        for cache in ("memory", "off")
    ]
    kept, plain = (model.get_weights() for model in models)
    for one, other in zip(kept, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)


def test_held_out_images_are_decoded_once_and_predicted_once(
    folder, passed, monkeypatch, tmp_path
):
    decoded = Counter()
    original = decoding.decode_one

    def counted(source, *arguments, **options):
        decoded[str(source)] += 1
        return original(source, *arguments, **options)

    monkeypatch.setattr(decoding, "decode_one", counted)
    result = transferred(folder, recipe="linear_probe", output=tmp_path / "out")
    monkeypatch.setattr(decoding, "decode_one", original)
    splits = result.splits
    for part in (splits.validation, splits.test):
        assert [decoded[path] for path in part.paths] == [1] * len(part)
    assert passes(passed, splits.test) == [1] * 6
    # Validation images once more, for the features that training chooses by.
    assert passes(passed, splits.validation) == [2] * 6
