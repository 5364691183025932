"""`kerastl predict`: one line for each image, in order."""

import csv
import json


def test_csv_has_a_header_and_a_line_for_each_file(command, classifier, image_folder):
    files = sorted(image_folder.rglob("*.png"))
    done = command("predict", "model.keras", *files)
    rows = list(csv.DictReader(done.lines))
    assert done.status == 0
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert {row["label"] for row in rows} == {"red"}
    assert {row["probability"] for row in rows} == {"0.625"}
    assert "\r" not in done.out


def test_jsonl_has_one_object_a_line(command, classifier, image_folder):
    file = next(image_folder.rglob("*.png"))
    done = command("predict", "model.keras", file, "--jsonl")
    (line,) = done.lines
    assert json.loads(line) == {
        "path": str(file),
        "label": "red",
        "probability": 0.625,
    }


def test_a_name_with_a_comma_stays_one_field(command, classifier, image_folder):
    file = next(image_folder.rglob("*.png"))
    odd = file.with_name('a,"b".png')
    file.rename(odd)
    (row,) = csv.DictReader(command("predict", "model.keras", odd).lines)
    assert row["path"] == str(odd)


def test_a_folder_stands_for_its_images_in_natural_order(
    command, classifier, image_folder
):
    folder = image_folder / "red"
    for number, file in zip((10, 9, 2, 1), sorted(folder.iterdir()), strict=True):
        file.rename(folder / f"photo{number}.png")
    (folder / "notes.txt").write_text("no image")
    rows = list(csv.DictReader(command("predict", "model.keras", folder).lines))
    names = [row["path"].rpartition("photo")[2] for row in rows]
    assert names == ["1.png", "2.png", "9.png", "10.png"]


def test_a_missing_path_fails_before_the_model_is_loaded(command, stand_in, tmp_path):
    loaded = []
    stand_in("load_classifier", loaded.append)
    done = command("predict", "model.keras", tmp_path / "absent.jpg")
    assert done.status == 1
    assert "absent.jpg" in done.err
    assert not loaded


def test_a_folder_without_images_fails(command, classifier, tmp_path):
    done = command("predict", "model.keras", tmp_path)
    assert done.status == 1
    assert "a folder with an image in it" in done.err


def test_a_model_that_is_not_there_fails(command, stand_in, image_folder):
    def load_classifier(path):
        raise FileNotFoundError(f"`path` must be a saved classifier. Received: {path}.")

    stand_in("load_classifier", load_classifier)
    done = command("predict", "absent.keras", image_folder)
    assert (done.status, done.out) == (1, "")
    assert "absent.keras" in done.err
