"""Parts that are at hand are checked as a folder's are."""

import numpy as np
import pytest

from kerastl.data.audit import audit
from kerastl.data.inputs import open_data
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
