"""The five small siblings of lesson 09: their files, their sizes, their use."""

import hashlib
import json
import shutil

import keras
import numpy as np
import pytest

import kerastl
from kerastl import teach
from kerastl.models import weights as weights_module
from kerastl.models.siblings import FEATURES, SIBLINGS, SIDE, build_sibling, siblings
from kerastl.models.weights import BUNDLED_FOLDER, weights_digest

each_family = pytest.mark.parametrize("family", SIBLINGS)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3)).astype("uint8")


def test_the_record_describes_the_files():
    record = json.loads((BUNDLED_FOLDER / "siblings.json").read_text("utf-8"))
    assert list(record) == list(SIBLINGS)
    for family, entry in record.items():
        path = BUNDLED_FOLDER / f"sibling_{family.lower()}.npz"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        assert len(path.read_bytes()) < 300_000
    assert len({entry["steps"] for entry in record.values()}) == 1
    assert len({entry["batch_size"] for entry in record.values()}) == 1


@each_family
def test_it_holds_the_weights_of_its_file(family):
    model = build_sibling(family)
    with np.load(BUNDLED_FOLDER / f"sibling_{family.lower()}.npz") as file:
        wanted = [file[name].astype("float32") for name in file.files]
    assert weights_digest(model.get_weights()) == weights_digest(wanted)
    assert sum(array.size for array in wanted) == siblings()[family]["parameters"]
    assert 90_000 < model.count_params() < 105_000
    assert model.output_shape == (None, 3, 3, FEATURES)


def test_plain_and_residual_differ_in_the_skips_alone():
    plain, skips = (build_sibling(f, weights=None) for f in ("VGG", "ResNet"))
    kernels = {w.path: w.shape for w in plain.trainable_weights if "block" in w.path}
    more = {w.path: w.shape for w in skips.trainable_weights if "block" in w.path}
    assert kernels.items() <= more.items()
    assert all("skip" in path for path in more.keys() - kernels.keys())


@each_family
def test_frozen_features_are_the_same_twice(family):
    first, second = (
        kerastl.features.FeatureExtractor(build_sibling(family), cache="off")
        for _ in range(2)
    )
    rows = first.fit_transform(IMAGES)
    assert rows.shape == (len(IMAGES), FEATURES)
    np.testing.assert_array_equal(rows, second.fit_transform(IMAGES))
    assert rows.std() > 0


@each_family
def test_only_the_head_trains(family):
    backbone = build_sibling(family)
    model = kerastl.build_classifier(backbone, ["day", "night", "dusk"], seed=0)
    before = {w.path: np.array(w) for w in model.weights if "seed" not in w.path}
    model.fit(IMAGES, np.arange(len(IMAGES)) % 3, epochs=1, verbose=0)
    moved = {w.path for w in model.weights if "seed" not in w.path
             and not np.array_equal(before[w.path], np.array(w))}  # fmt: skip
    assert moved == {"head_dense/kernel", "head_dense/bias"}


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(str(BUNDLED_FOLDER), tmp_path / "tiny")
    changed = tmp_path / "tiny" / "sibling_vgg.npz"
    content = bytearray(changed.read_bytes())
    content[1000] ^= 1
    changed.write_bytes(bytes(content))
    monkeypatch.setattr(weights_module, "BUNDLED_FOLDER", tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"undamaged file \(sha256"):
        build_sibling("VGG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "resnet"}, "family"),
        ({"family": "VGG", "image_size": 8}, "image_size"),
        ({"family": "VGG", "weights": "imagenet"}, "weights"),
    ],
)
def test_other_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_sibling(**options)


def test_the_course_offers_them():
    assert teach.siblings() == siblings()
    assert isinstance(teach.build_sibling("VGG", weights=None), keras.Model)
