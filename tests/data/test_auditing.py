"""The audit finds each kind of fault and raises for none of them."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from kerastl.data.audit import audit
from kerastl.data.sets import ImageSet


@pytest.fixture
def faulty(tmp_path):
    """Two parts with one fault of each kind."""
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            place = tmp_path / part / name
            place.mkdir(parents=True)
            for i in range(count):
                noise = random.integers(0, 256, (20 + i, 30, 3), "uint8")
                Image.fromarray(noise).save(place / f"{i}.jpg")
    train, test = tmp_path / "train", tmp_path / "test"
    shutil.copy(train / "cat" / "0.jpg", train / "cat" / "same.jpg")
    shutil.copy(train / "cat" / "1.jpg", train / "dog" / "conflict.jpg")
    shutil.copy(train / "dog" / "2.jpg", test / "dog" / "leak.jpg")
    (train / "dog" / "text.jpg").write_text("no image")
    whole = (train / "dog" / "0.jpg").read_bytes()
    (train / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (9, 9)).save(train / "cat" / "gray.jpg", "PNG")
    (train / "cat" / ".DS_Store").touch()
    (train / "cat" / "notes.txt").touch()
    (train / "owl").mkdir()
    return tmp_path


@pytest.fixture
def report(faulty):
    return audit(faulty, smallest_class=3)


def names(groups):
    return [[path.rsplit("/", 1)[1] for path in group] for group in groups]


def test_damaged_files_are_found_with_their_reason(report):
    found = {path.rsplit("/", 1)[1]: why for path, why in report.unreadable}
    assert set(found) == {"text.jpg", "cut.jpg"}
    assert "not an image" in found["text.jpg"]


def test_wrong_extensions_are_found(report):
    ((path, kind),) = report.wrong_extensions
    assert path.endswith("gray.jpg")
    assert kind == "PNG"


def test_ignored_files_are_listed(report):
    assert names([report.ignored]) == [[".DS_Store", "notes.txt"]]


def test_small_and_missing_classes_are_found(report):
    assert report.small_classes == ("train/owl", "test/cat")
    assert report.missing_classes == ("test/owl",)


def test_duplicates_conflicts_and_leaks_are_told_apart(report):
    assert names(report.duplicates) == [["0.jpg", "same.jpg"]]
    assert names(report.conflicts) == [["1.jpg", "conflict.jpg"]]
    assert names(report.leaks) == [["2.jpg", "leak.jpg"]]


def test_sizes_and_modes_are_counted(report):
    assert report.widths == (9, 30, 30)
    assert report.heights[0] == 9
    assert report.modes["L"] == 1
    assert report.formats["PNG"] == 1


def test_the_report_is_ready_for_json(report):
    assert json.loads(json.dumps(report.to_dict()))["ok"] is False


def test_the_page_names_every_kind_of_fault(report):
    page = str(report)
    for title in (
        "unreadable: 2",
        "wrong extension: 1",
        "ignored files: 2",
        "small classes: 2",
        "missing classes: 1",
        "duplicates: 1",
        "copies with different labels: 1",
        "copies in several parts: 1",
    ):
        assert title in page


def test_a_clean_folder_is_ok(image_folder):
    report = audit(image_folder, smallest_class=4)
    assert report.ok
    assert str(report).endswith("no faults found")


def test_a_set_of_arrays_is_audited():
    pixels = np.arange(6, dtype="uint8").repeat(20).reshape(6, 4, 5)
    pixels[4] = pixels[1]
    report = audit(ImageSet(pixels, np.array([0, 0, 0, 1, 1, 1]), ("a", "b")))
    assert report.conflicts == (("image 1", "image 4"),)
    assert report.widths == (5, 5, 5)
    assert not report.wrong_extensions


def test_arrays_with_nothing_to_see_are_reported():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 4, 5, 3), "uint8")
    pixels[1], pixels[2] = (9, 0, 200), pixels[2] % 12
    report = audit(ImageSet(pixels, np.array([0, 0, 0, 1, 1, 1]), ("a", "b")))
    assert "'image 1'" in report.empty_looking[0]
    assert "'image 2'" in report.empty_looking[1]
    assert len(report.empty_looking) == 2


def test_a_set_of_files_is_audited(faulty):
    paths = [str(faulty / "train" / "cat" / f"{i}.jpg") for i in range(2)]
    paths.append(str(faulty / "gone.jpg"))
    report = audit(ImageSet(tuple(paths), None, ("a",)))
    assert [path for path, _ in report.unreadable] == paths[2:]


@pytest.mark.parametrize("made", [[], ["cat"], ["cat", "dog"]])
def test_a_folder_without_images_is_not_ok(tmp_path, made):
    for name in made:
        (tmp_path / name).mkdir()
    report = audit(tmp_path, smallest_class=0)
    assert not report.ok
    assert str(report).endswith("no images were found")


def test_a_folder_of_no_classes_is_reported(image_folder):
    report = audit(image_folder.parent)
    assert not report.ok
    assert "Did you mean" in str(report)


def test_what_is_not_used_is_reported(image_folder):
    shutil.copy(image_folder / "red" / "0.png", image_folder / "cover.png")
    assert "cover.png" in "".join(audit(image_folder).notes)


def test_names_that_are_no_text_are_reported(image_folder):
    for name in (b"\xff.png", b"caf\xe9.jpg", b"\xfe.txt"):
        copy = image_folder / "red" / os.fsdecode(name)
        shutil.copy(image_folder / "red" / "0.png", copy)
    shutil.copytree(image_folder / "red", image_folder / os.fsdecode(b"\xe9"))
    report = audit(image_folder)
    for text in (str(report), json.dumps(report.to_dict(), ensure_ascii=False)):
        assert r"caf\xe9.jpg" in text.replace("\\\\", "\\")
        text.encode("utf-8")
    assert r"\xe9" in report.counts


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        audit(tmp_path / "gone")


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="a path or an ImageSet"):
        audit(3)
