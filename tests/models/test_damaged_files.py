"""What comes from a file is what was written to it, or one sentence names the file."""

import hashlib
import json
import zipfile

import keras
import numpy as np
import pytest
from networks import CLASSES, small_classifier, small_network, values

import kerastl
from kerastl.cli.commands import csv_row
from kerastl.features.extractor import FeatureExtractor
from kerastl.models.adapting import adapt_backbone
from kerastl.models.lora import add_lora, load_adapters, save_adapters
from kerastl.models.weights import load_weights_file


def network():
    return adapt_backbone(small_network(), preprocessing="tf")


def weights_h5(place):
    place /= "w.weights.h5"
    network().save_weights(place)
    return place, lambda path: load_weights_file(network(), path, network="own")


def weights_npz(place):
    place /= "w.npz"
    np.savez(place, *network().get_weights())
    return place, lambda path: load_weights_file(network(), path, network="own")


def adapters(place):
    keras.utils.set_random_seed(0)
    model = small_classifier()
    add_lora(model, rank=2)
    save_adapters(model, place / "a.npz")
    keras.utils.set_random_seed(0)
    bare = small_classifier()
    return place / "a.npz", lambda path: load_adapters(bare, path)


def whole_model(place):
    kerastl.save_model(small_classifier(), place / "m.keras")
    return place / "m.keras", kerastl.load_model


def extractor(place):
    made = FeatureExtractor(network()).fit(np.zeros((1, 16, 16, 3), "uint8"))
    made.save(place / "e.keras")
    return place / "e.keras", FeatureExtractor.load


READERS = [weights_h5, weights_npz, adapters, whole_model, extractor]


@pytest.mark.parametrize("make", READERS)
def test_a_damaged_file_is_one_sentence_with_its_name(make, tmp_path):
    path, read = make(tmp_path)
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 6)
    # Headers are where most readers have words of their own.
    for place in [*places.tolist(), 0, 4, 9, 28, len(whole) - 6]:
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        try:
            read(path)
        except ValueError as error:
            assert path.name in str(error)
            assert "\n" not in str(error)
    path.write_bytes(whole)
    read(path)


@pytest.mark.parametrize("make", [weights_h5, weights_npz])
def test_a_sum_beside_weights_is_checked(make, tmp_path):
    path, read = make(tmp_path)
    beside = path.with_name(f"{path.name}.sha256")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(f"{right}  {path.name}\n")
    read(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"undamaged file.*{path.name}.*fetch or"):
        read(path)
    beside.write_text("no sum")
    with pytest.raises(ValueError, match=r"sha256 of 64 hexadecimal digits"):
        read(path)


@pytest.mark.parametrize("make", READERS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(make, value, tmp_path, monkeypatch):
    path, read = make(tmp_path)
    made = {
        weights_h5: lambda m: m.save_weights(path),
        weights_npz: lambda m: np.savez(path, *m.get_weights()),
        whole_model: lambda m: kerastl.save_model(m, path),
    }
    if make is adapters:
        with np.load(path) as file:
            arrays = dict(file)
        arrays["a0"][0] = value
        np.savez(path, **arrays)
    elif make is extractor:
        bad = network()
        bad.layers[-2].gamma.assign(np.full(4, value))
        FeatureExtractor(bad).fit(np.zeros((1, 16, 16, 3), "uint8")).save(path)
    else:
        model = small_classifier() if make is whole_model else network()
        kernel = model.get_layer("conv2").kernel
        kernel.assign(np.full(kernel.shape, value))
        made[make](model)
    with pytest.raises(ValueError, match=rf"{path.name}.*not finite"):
        read(path)


def test_a_refused_file_changes_no_weight(tmp_path):
    path, _ = weights_npz(tmp_path)
    with np.load(path) as file:
        arrays = [file[name] for name in file.files]
    arrays[3] = np.full_like(arrays[3], np.inf)
    np.savez(path, *arrays)
    model = network()
    before = values(model)
    with pytest.raises(ValueError, match="not finite"):
        load_weights_file(model, path, network="own")
    for old, now in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, now)


def with_record(path, change):
    """Write a model's file again with another record."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config["config"]["layers"][-1]["config"]["record"])
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"task": {"name": "multiclass", "class_names": ["a", "b"]}},
            "names 2 outputs",
        ),
        ({"task": {"name": "multiclass", "class_names": [*"abcd"]}}, "names 4 outputs"),
        ({"task": {"name": "multiclass", "names": ["a"]}}, "record cannot be read"),
        ({"task": {}}, "record cannot be read"),
        ({"colour": "red"}, r"version 2, colour"),
        ({"version": 99}, r"this kerastl reads \(version 2\).*version 99"),
        ({"resize": None}, "version 2, resize"),
    ],
)
def test_a_record_that_is_not_the_models_is_refused(change, sentence, tmp_path):
    path, read = whole_model(tmp_path)

    def changed(record):
        record.update(change)
        if change.get("resize", "") is None:
            del record["resize"]

    with_record(path, changed)
    with pytest.raises(ValueError, match=rf"m\.keras.*{sentence}"):
        read(path)


def test_a_record_as_it_was_is_read(tmp_path):
    path, read = whole_model(tmp_path)
    with_record(path, lambda record: None)
    assert kerastl.class_names(read(path)) == CLASSES
    assert isinstance(read(path), keras.Model)


@pytest.mark.parametrize("cell", ["=cmd", "+1", "-x.png", "@a", "\tb"])
def test_no_cell_is_a_formula(cell):
    row = csv_row({"path": cell, "label": (cell, "b"), "probability": -0.5})
    assert row == {"path": f"'{cell}", "label": f"'{cell};b", "probability": -0.5}
