"""`kerastl predict`: one line for each image, in order."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kerastl.cli.commands import csv_row
from kerastl.tasks import Detections


def test_csv_has_a_header_and_a_line_for_each_file_in_order(command, trained):
    files = sorted(trained.data.glob("test/*/photo*.png"), reverse=True)
    done = command("predict", trained.model, *files)
    rows = list(csv.DictReader(done.lines))
    assert done.lines[0] == "path,label,probability"
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == [file.parent.name for file in files]
    assert all(1 / 3 < float(row["probability"]) <= 1 for row in rows)
    assert "\r" not in done.out


def test_jsonl_holds_the_same_as_csv(command, trained):
    folder = trained.data / "test"
    rows = list(csv.DictReader(command("predict", trained.model, folder).lines))
    lines = command("predict", trained.model, folder, "--jsonl").lines
    objects = [json.loads(line) for line in lines]
    assert [{**o, "probability": str(o["probability"])} for o in objects] == rows


def test_a_folder_stands_for_its_images_in_natural_order(command, trained):
    folder = trained.data / "train" / "red"
    rows = list(csv.DictReader(command("predict", trained.model, folder).lines))
    numbers = [int(row["path"].rpartition("photo")[2][:-4]) for row in rows]
    assert numbers == [*range(6, 36, 3)]


def test_a_name_with_a_comma_stays_one_field(command, trained, tmp_path):
    odd = tmp_path / 'a,"b".png'
    odd.write_bytes(next(trained.data.glob("test/*/photo*.png")).read_bytes())
    (row,) = csv.DictReader(command("predict", trained.model, odd).lines)
    assert row["path"] == str(odd)


def test_several_labels_are_one_field_of_csv_and_a_list_of_json(command, stand_in):
    rows = [
        {"path": "a.png", "label": ("cat", "dog"), "probability": 0.75},
        {"path": "b.png", "label": (), "probability": 0.25},
    ]
    stand_in("load_model", lambda path: SimpleNamespace())
    stand_in("predict", lambda model, paths, *, progress: rows)
    assert command("predict", "m", "x").lines[1:] == [
        "a.png,cat;dog,0.75",
        "b.png,,0.25",
    ]
    objects = [
        json.loads(line) for line in command("predict", "m", "x", "--jsonl").lines
    ]
    assert [o["label"] for o in objects] == [["cat", "dog"], []]


def test_views_reach_the_library_when_they_are_given(command, stand_in):
    calls = []

    def predict(model, paths, *, progress, **options):
        calls.append(options)
        return []

    stand_in("load_model", lambda path: SimpleNamespace())
    stand_in("predict", predict)
    command("predict", "m", "x")
    command("predict", "m", "x", "--views", "8", "--augment", "digits")
    assert calls == [{}, {"views": 8, "augment": "digits"}]
    assert command("predict", "m", "x", "--views", "0").status == 2


def test_one_label_is_not_taken_apart():
    assert csv_row({"label": "cat"}) == {"label": "cat"}


def test_a_missing_path_fails(command, trained, tmp_path):
    done = command("predict", trained.model, tmp_path / "absent.jpg")
    assert (done.status, done.out) == (1, "")
    assert "absent.jpg" in done.err
    assert done.err.count("\n") == 1


def test_a_folder_without_images_fails(command, trained, tmp_path):
    done = command("predict", trained.model, tmp_path)
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1


def test_a_damaged_file_among_others_is_named_and_nothing_is_printed(
    command, trained, tmp_path
):
    good = next(trained.data.glob("test/*/photo*.png"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:60])
    done = command("predict", trained.model, good, bad, good)
    assert (done.status, done.out) == (1, "")
    assert "bad.png" in done.err
    assert done.err.count("\n") == 1


def test_a_model_that_is_not_there_fails(command, trained, tmp_path):
    done = command("predict", tmp_path / "absent.keras", trained.data)
    assert (done.status, done.out) == (1, "")
    assert "absent.keras" in done.err


def test_a_file_that_is_no_model_fails(command, trained, tmp_path):
    fake = tmp_path / "fake.keras"
    fake.write_text("not a model")
    done = command("predict", fake, trained.data)
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "fake.keras" in done.err


def test_masks_are_written_with_their_overlays(command, stand_in, tmp_path):
    from kerastl.data.masks import Masks
    from kerastl.tasks.segmentation import MaskPredictions

    mask = np.arange(48, dtype="uint8").reshape(6, 8) % 3
    Image.fromarray(np.zeros((6, 8, 3), "uint8")).save(tmp_path / "street.png")
    paths = (str(tmp_path / "street.png"),)
    found = MaskPredictions(("sky", "road", "car"), (mask,), paths)
    stand_in("load_model", lambda path: None)
    stand_in("predict", lambda model, paths, *, progress: found)
    place = tmp_path / "out"
    done = command("predict", "m", paths[0], "--output", place, "--pictures")
    assert done.status == 0, done.err
    again = command("predict", "m", paths[0], "--output", place)
    assert again.status == 1 and "--overwrite" in again.err
    given = "--output", place, "--overwrite"
    assert command("predict", "m", paths[0], *given).status == 0
    (row,) = csv.DictReader(done.lines)
    assert float(row["sky"]) == pytest.approx(1 / 3, abs=1e-6)
    names = sorted(path.name for path in place.iterdir())
    assert names == ["street-overlay.png", "street.png"]
    read = Masks([str(place / "street.png")], found.class_names).read(0)
    np.testing.assert_array_equal(read, mask)
    laid = np.asarray(Image.open(place / "street-overlay.png"))
    np.testing.assert_array_equal((laid > 0).any(axis=-1), mask > 0)


def test_a_table_has_no_files_to_write(command, stand_in, tmp_path):
    stand_in("load_model", lambda path: None)
    stand_in("predict", lambda model, paths, *, progress: [{"path": "x", "age": 1.0}])
    done = command("predict", "m", "x", "--output", tmp_path / "out")
    assert done.status == 1 and "left out for this model" in done.err
    done = command("predict", "m", "x", "--pictures")
    assert done.status == 1 and "--output" in done.err


def test_objects_are_one_row_each_and_one_line_an_image(command, stand_in, tmp_path):
    Image.fromarray(np.zeros((40, 60, 3), "uint8")).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((40, 60, 3), "uint8")).save(tmp_path / "b.png")
    found = Detections(
        ("mug", "pen"),
        (np.array([[1, 2, 30, 20.5]], "float32"), np.zeros((0, 4), "float32")),
        (np.array([1]), np.zeros(0, int)),
        (np.array([0.75], "float32"), np.zeros(0, "float32")),
        (str(tmp_path / "a.png"), str(tmp_path / "b.png")),
    )
    stand_in("load_model", lambda path: SimpleNamespace())
    stand_in("predict", lambda model, paths, *, progress: found)
    done = command("predict", "m", "x", "--output", tmp_path / "out", "--pictures")
    assert done.lines == [
        "path,name,score,left,top,right,bottom",
        f"{tmp_path / 'a.png'},pen,0.75,1.0,2.0,30.0,20.5",
    ]
    lines = [json.loads(line) for line in command("predict", "m", "x", "--jsonl").lines]
    assert [len(line["objects"]) for line in lines] == [1, 0]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a-boxes.png", "b-boxes.png", "detections.json"]
    drawn = np.asarray(Image.open(tmp_path / "out" / "a-boxes.png"))
    assert drawn.shape == (40, 60, 3)
    # The frame's lower edge is drawn, what lies far from it is not.
    assert drawn[20, 5:29].any(axis=-1).all()
    assert not drawn[30:].any()
    assert not np.asarray(Image.open(tmp_path / "out" / "b-boxes.png")).any()
    nothing = found.above(0.9)
    stand_in("predict", lambda model, paths, *, progress: nothing)
    assert command("predict", "m", "x").lines == [
        "path,name,score,left,top,right,bottom"
    ]
