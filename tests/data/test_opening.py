"""Parts that are at hand are checked as a folder's are."""

import numpy as np
import pytest

from kerastl.data.audit import audit
from kerastl.data.inputs import as_image_set, open_data
from kerastl.data.loading import load_images
from kerastl.data.sets import ImageSet, Splits


def images(count, seed, classes=("a", "b")):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (count, 8, 8, 3)).astype("uint8")
    return ImageSet(pixels, np.arange(count) % len(classes), classes)


def content(part):
    return {pixels.tobytes() for pixels in part.images}


def test_missing_parts_are_cut_from_training():
    splits = open_data(Splits(images(40, 0), None, None), validation=0.25, test=0.25)
    assert len(splits.validation) == len(splits.test) or splits.test is not None
    assert not content(splits.train) & content(splits.validation)
    assert not content(splits.train) & content(splits.test)


def test_a_training_copy_of_a_held_out_image_is_dropped():
    train, test = images(12, 0), images(6, 1)
    pixels = np.concatenate([train.images, test.images[:1]])
    leaking = ImageSet(pixels, np.append(train.labels, test.labels[0]), ("a", "b"))
    with pytest.warns(UserWarning, match="Dropped 1 image that a held-out part"):
        splits = open_data((leaking, images(6, 2), test))
    assert not content(splits.train) & content(test)
    with pytest.raises(ValueError, match="parts that share no image"):
        open_data((leaking, images(6, 2), test), on_leak="error")


def test_parts_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="of the classes"):
        open_data((images(6, 0), images(6, 1, ("a", "c"))))


@pytest.mark.parametrize(
    ("data", "hint"), [("my_photos", ""), ("digit", "Did you mean 'digits'?")]
)
def test_a_name_that_is_nothing_is_a_missing_folder(tmp_path, monkeypatch, data, hint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="an existing folder or") as raised:
        open_data(data)
    assert f"{str(tmp_path / data)!r} does not exist." in str(raised.value)
    assert str(raised.value).endswith(hint)


@pytest.mark.parametrize("read", [open_data, load_images, audit])
def test_no_name_is_not_the_working_folder(image_folder, monkeypatch, read):
    monkeypatch.chdir(image_folder)
    with pytest.raises(FileNotFoundError, match="for the working folder"):
        read("")
    read(".")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((30, 40), (1, 30, 40)),
        ((30, 40, 3), (1, 30, 40, 3)),
        ((30, 40, 1), (1, 30, 40, 1)),
        ((1, 30, 40), (1, 30, 40)),
        ((5, 30, 40, 3), (5, 30, 40, 3)),
    ],
)
def test_an_array_of_one_reading_is_read_in_silence(shape, expected):
    given = np.zeros(shape, "uint8")
    assert as_image_set(given, (8, 8), "stretch").images.shape == expected


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 30, 40), r"transpose\(1, 2, 0\) for one image of 3 channels"),
        ((4, 30, 40), r"images\[..., None\] for 4 gray ones"),
        ((64, 64, 13), r"images\[None\] for one image of 13 channels"),
    ],
)
def test_an_array_of_two_readings_is_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        as_image_set(np.zeros(shape, "uint8"), (8, 8), "stretch")


@pytest.mark.parametrize("shape", [(5, 8, 8), (64, 20, 30)])
def test_how_three_axes_are_read_is_said(shape):
    given = np.zeros(shape, "uint8")
    with pytest.warns(
        UserWarning, match=f"read as {shape[0]} gray images of {shape[1]}"
    ):
        assert len(as_image_set(given, (8, 8), "stretch")) == shape[0]
    as_image_set(given[..., None], (8, 8), "stretch")


def test_paths_in_an_array_are_read(image_folder):
    paths = sorted(map(str, image_folder.rglob("*.png")))
    for given in (np.array(paths), np.array(paths, object)):
        assert as_image_set(given, (8, 8), "stretch").paths == tuple(paths)
