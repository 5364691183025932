"""`kerastl features`: one file of arrays, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from networks import pixels
from PIL import Image

import kerastl

OPTIONS = ("--alpha", "0.25", "--image-size", "32")


@pytest.fixture
def made(command, image_folder, tmp_path):
    """Features of a folder of three classes: the reply, and the arrays."""
    file = tmp_path / "features.npz"

    def run(*more, data=image_folder):
        done = command("features", data, "-o", file, *OPTIONS, *more)
        assert done.status == 0, done.err
        with np.load(file) as arrays:
            return done, dict(arrays)

    return run


def extract(images, **options):
    from kerastl.features.extractor import FeatureExtractor

    options = {"alpha": 0.25, "image_size": 32, **options}
    return FeatureExtractor("MobileNet", **options).fit_transform(images)


def test_the_file_holds_each_image_with_its_label_and_its_path(made, image_folder):
    _, arrays = made()
    names = arrays["class_names"].tolist()
    assert sorted(names) == ["blue", "green", "red"]
    files = [str(path) for path in image_folder.rglob("*.png")]
    assert sorted(arrays["paths"]) == sorted(files)
    folders = [Path(path).parts[-2] for path in arrays["paths"]]
    assert [names[label] for label in arrays["labels"]] == folders
    expected = extract(arrays["paths"].tolist())
    np.testing.assert_allclose(arrays["features"], expected, rtol=1e-4, atol=1e-5)
    assert arrays["features"].dtype == np.float32
    assert set(arrays["split"]) == {"train"}


def test_cuts_and_pooling_reach_the_network(made):
    _, arrays = made("--at", "conv_pw_1_relu", "conv_pw_3_relu", "--pooling", "max")
    expected = extract(
        arrays["paths"].tolist(), at=("conv_pw_1_relu", "conv_pw_3_relu"), pooling="max"
    )
    np.testing.assert_allclose(arrays["features"], expected, rtol=1e-4, atol=1e-5)
    assert arrays["feature_names"][0] == "conv_pw_1_relu_0"
    assert len(arrays["feature_names"]) == arrays["features"].shape[1]


def test_resize_reaches_the_images(made, tmp_path):
    folder = tmp_path / "wide"
    folder.mkdir()
    Image.fromarray(pixels(1, 40)[0, :20]).save(folder / "a.png")
    _, arrays = made("--resize", "pad", data=folder)
    expected = extract(arrays["paths"].tolist(), resize="pad")
    np.testing.assert_allclose(arrays["features"], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, extract(arrays["paths"].tolist()), atol=1e-3)


def test_backbone_and_weights_reach_the_network(made):
    _, arrays = made("--backbone", "MobileNetV2", "--weights", "none")
    assert arrays["feature_names"][-1] == "out_relu_1279"


def test_a_plain_folder_of_images_has_no_labels(made, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in (10, 2, 1):
        Image.fromarray(pixels(1, 8, number)[0]).save(folder / f"{number}.png")
    _, arrays = made(data=folder)
    assert [Path(path).parts[-1] for path in arrays["paths"]] == [
        "1.png",
        "2.png",
        "10.png",
    ]
    assert arrays["labels"].tolist() == [-1, -1, -1]
    assert arrays["class_names"].size == 0


def test_parts_of_a_folder_are_told_apart(made, trained):
    _, arrays = made(data=trained.data)
    inside = [Path(path).parts[-3] for path in arrays["paths"]]
    assert arrays["split"].tolist() == inside
    assert set(inside) == {"train", "test"}


def test_a_dataset_goes_by_its_name(made, monkeypatch):
    images = kerastl.ImageSet(pixels(4, 8), np.array([0, 1, 0, 1]), ("no", "yes"))
    monkeypatch.setattr(
        "kerastl.data.inputs.load_dataset",
        lambda name, **_: kerastl.Splits(images, None, None),
    )
    _, arrays = made(data="digits")
    assert arrays["labels"].tolist() == [0, 1, 0, 1]
    assert arrays["paths"].tolist() == [""] * 4


def test_json_counts_what_was_written(made, tmp_path):
    done, arrays = made("--json")
    images, width = arrays["features"].shape
    assert json.loads(done.lines[-1]) == {
        "images": images,
        "features": width,
        "splits": {"train": images},
        "class_names": arrays["class_names"].tolist(),
        "image_size": [32, 32],
        "output": str(tmp_path / "features.npz"),
    }


def test_the_reply_names_file_and_numbers(made, tmp_path):
    done, _ = made()
    assert done.lines == [
        "12 images (12 train), 256 features each, written to "
        f"{tmp_path / 'features.npz'}"
    ]


def test_an_existing_file_stays_unless_told_otherwise(command, image_folder, tmp_path):
    file = tmp_path / "features.npz"
    file.write_bytes(b"precious")
    done = command("features", image_folder, "-o", file, *OPTIONS)
    assert (done.status, file.read_bytes()) == (2, b"precious")
    assert "--overwrite" in done.err
    done = command("features", image_folder, "-o", file, *OPTIONS, "--overwrite")
    assert done.status == 0
    with np.load(file) as arrays:
        assert len(arrays["features"]) == 12


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    command, image_folder, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "features.npz"
    file.write_bytes(b"precious")

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    done = command("features", image_folder, "-o", file, *OPTIONS, "--overwrite")
    assert (done.status, done.out) == (1, "")
    assert "No space left" in done.err
    assert file.read_bytes() == b"precious"
    assert [path.name for path in folder.iterdir()] == ["features.npz"]


@pytest.mark.parametrize(
    ("file", "more", "words"),
    [
        ("features.csv", (), "ending in .npz"),
        ("absent/features.npz", (), "Make the folder"),
        ("features.npz", ("--pooling", "sum"), "'avg', 'max', 'spp'"),
        ("features.npz", ("--at", "nowhere"), "nowhere"),
        ("features.npz", ("--backbone", "MobileNets"), "MobileNets"),
    ],
)
def test_bad_arguments_are_told_in_one_line(
    command, image_folder, tmp_path, file, more, words
):
    done = command("features", image_folder, "-o", tmp_path / file, *more)
    assert done.status in (1, 2)
    assert words in done.err
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert not (tmp_path / file).exists()


def test_missing_data_fail_in_one_line(command, tmp_path):
    done = command("features", tmp_path / "absent", "-o", tmp_path / "f.npz")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "absent" in done.err


def test_merged_shares_are_the_file_of_one_run(command, image_folder, tmp_path):
    whole, merged, shares = (tmp_path / n for n in ("whole.npz", "merged.npz", "in"))
    options = (*OPTIONS, "--json")
    assert command("features", image_folder, "-o", whole, *options).status == 0
    for number in (2, 1, 2):
        part = ("--shard", f"{number}/2")
        done = command("features", image_folder, "-o", shares, *part, *options)
        assert done.status == 0, done.err
    assert not done.json()["computed"]
    done = command("merge", shares, "-o", merged, "--json")
    assert done.json()["images"] == 12
    assert merged.read_bytes() == whole.read_bytes()


def test_a_share_of_other_settings_is_named_with_the_way_out(
    command, image_folder, tmp_path
):
    for part, more in (("1/2", ()), ("2/2", ("--pooling", "max"))):
        given = ("-o", tmp_path, "--shard", part, *OPTIONS, *more)
        assert command("features", image_folder, *given).status == 0
    done = command("merge", tmp_path, "-o", tmp_path / "merged.npz")
    assert done.status == 1
    assert "features-1-of-2.npz, features-2-of-2.npz" in done.err
    assert "--overwrite" in done.err
    again = ("-o", tmp_path, "--shard", "2/2", *OPTIONS)
    done = command("features", image_folder, *again)
    assert (done.status, "--overwrite" in done.err) == (2, True)
    assert command("features", image_folder, *again, "--overwrite").status == 0
    assert command("merge", tmp_path, "-o", tmp_path / "merged.npz").status == 0


def test_columns_of_a_table_are_named_as_for_train(made, image_folder, tmp_path):
    files = sorted(image_folder.rglob("*.png"))
    rows = [
        f"{file},{file.parent.name},{number},{('train', 'test')[number % 2]}"
        for number, file in enumerate(files)
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["file,colour,weight,part", *rows]))
    _, arrays = made("--labels", "colour", "--split", "part", data=table)
    assert sorted(arrays["class_names"]) == ["blue", "green", "red"]
    assert arrays["split"].tolist() == ["train"] * 6 + ["test"] * 6
    options = ("--targets", "weight", "--split", "part", "--overwrite")
    _, arrays = made(*options, data=table)
    assert sorted(arrays["labels"].ravel()) == list(range(12))


def test_texts_ask_for_a_network_of_texts(command, tmp_path):
    table = tmp_path / "reviews.csv"
    rows = [f"a fine film {n} of all,good\na dull one {n} it was,bad" for n in range(5)]
    table.write_text("\n".join(["review,verdict", *rows]))
    done = command("features", table, "-o", tmp_path / "f.npz")
    assert "Pass --backbone MiniText" in done.err
    pytest.importorskip("keras_hub")
    given = ("-o", tmp_path / "f.npz", "--backbone", "MiniText", "--text", "review")
    assert command("features", table, *given, "--labels", "verdict").status == 0
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["features"].shape == (10, 256)
        assert arrays["class_names"].tolist() == ["bad", "good"]


def test_the_help_says_each_thing_once(command):
    said = " ".join(command("features", "--help").out.split())
    assert "a .csv file of images or texts" in said
    assert said.count("Column of class names, or columns of 0 and 1") == 1
    assert said.count("masks or boxes for a folder that has both") == 1
    assert said.count("or boxes of a folder that has both") == 0
