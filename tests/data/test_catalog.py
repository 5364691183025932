"""Data sets by name, without a network."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kerastl.data import catalog
from kerastl.data.audit import audit
from kerastl.data.catalog import load_dataset
from kerastl.data.loading import load_images

BUNDLED = Path(__file__).parents[2] / "data" / "shapes"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty KERAS_HOME and no network."""

    def no_network(*arguments, **options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(catalog, "keras_home", lambda: tmp_path)
    monkeypatch.setattr(keras.utils, "get_file", no_network)
    return tmp_path


def test_digits_are_scikit_learns_scaled_to_0_255():
    train, validation, _ = load_dataset("digits", validation=0)
    bunch = load_digits()
    assert validation is None
    assert train.images.max() == 255
    np.testing.assert_array_equal(train.labels, bunch.target)
    np.testing.assert_allclose(train.images[..., 1] / 255 * 16, bunch.images, atol=0.04)


def test_digits_follow_the_seed():
    first, again, other = (
        load_dataset("digits", seed=seed).validation.images for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_shapes_need_no_files(monkeypatch):
    monkeypatch.setattr(catalog, "_NUM_SHAPES", 30)
    train, validation, test = load_dataset("shapes", test=0.2)
    assert [len(train), len(validation), len(test)] == [18, 6, 6]
    assert train.num_classes == 6


@pytest.mark.parametrize("place", ["flower_photos", "flower_photos/flower_photos"])
def test_flowers_are_read_from_keras_home(home, place):
    for c, name in enumerate(catalog._FLOWER_NAMES):
        folder = home / "datasets" / place / name
        folder.mkdir(parents=True)
        for i in range(5):
            image = Image.new("RGB", (16, 16), (50 * c, 60 * i, 0))
            image.paste("white", (0, 0, 8, 8))
            image.save(folder / f"{i}.jpg")
    train, validation, _ = load_dataset("flowers")
    assert train.class_names == catalog._FLOWER_NAMES
    assert (len(train), len(validation)) == (20, 5)


def test_flowers_offline_name_the_file_and_the_folder(home):
    with pytest.raises(FileNotFoundError, match=r"flower_photos\.tgz.*datasets"):
        load_dataset("flowers")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_other_sets_offline_name_the_file_and_the_folder(home, monkeypatch, name):
    def no_network():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", no_network)
    with pytest.raises(FileNotFoundError, match=r"URL fetch failure.*datasets"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("name", "classes"), [("cifar10", 10), ("cifar100", 100), ("fashion_mnist", 10)]
)
def test_a_sets_own_test_part_is_the_test_split(monkeypatch, name, classes):
    random = np.random.default_rng(0)
    count = 5 * classes
    shape = (28, 28) if name == "fashion_mnist" else (32, 32, 3)
    images = random.integers(0, 256, (count + classes, *shape), "uint8")
    labels = np.arange(count + classes) % classes
    labels = labels if name == "fashion_mnist" else labels[:, None]
    # One test picture lies among the training ones.
    images[0] = images[count]
    parts = (images[:count], labels[:count]), (images[count:], labels[count:])
    monkeypatch.setattr(getattr(keras.datasets, name), "load_data", lambda: parts)
    with pytest.warns(UserWarning, match=f"Dropped 1 image.*image 0 = image {count}"):
        train, validation, test = load_dataset(name)
    np.testing.assert_array_equal(test.images, images[count:])
    assert len(train) + len(validation) == count - 1
    assert len(validation) == pytest.approx(count / 5, abs=1)


def test_cifar100_has_a_hundred_names_in_the_alphabets_order():
    assert len(set(catalog._CIFAR100)) == 100
    assert list(catalog._CIFAR100) == sorted(catalog._CIFAR100)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'flowers'"):
        load_dataset("flower")


def test_the_bundled_folder_is_clean_and_can_be_cut():
    report = audit(BUNDLED)
    assert report.ok
    assert not report.duplicates
    assert set(report.counts.values()) == {67}
    train, validation, test = load_images(BUNDLED, test=0.2)
    assert len(train) + len(validation) + len(test) == 402


def test_the_bundled_folder_is_the_one_on_its_card():
    lines = ""
    for path in sorted(BUNDLED.glob("*/*.jpg"), key=lambda path: path.as_posix()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += f"{digest}  {path.relative_to(BUNDLED).as_posix()}\n"
    card = (BUNDLED / "README.md").read_text()
    assert hashlib.sha256(lines.encode()).hexdigest() in card


def test_the_bundled_folder_stays_small():
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*.jpg")) < 1_500_000
