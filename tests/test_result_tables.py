"""Results as tables: rows for pandas, pages for notebooks, names that stay text."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from evidence_pages import Page
from PIL import Image
from public_names import CLASSES, PUBLIC

import kerastl
from kerastl._tables import Tabular
from kerastl.tasks import classification_report as scores
from kerastl.tasks.classification import (
    LabelPredictions,
    Predictions,
    classification_report,
)
from kerastl.tasks.detection import Detections
from kerastl.tasks.regression import NumberPredictions
from kerastl.tasks.segmentation import MaskPredictions
from kerastl.training.phase import BestEpoch, PhaseRecord, TrainingHistory

EVIL = "<img src=x onerror=alert(1)>"
#: What prints, and is a picture, one number or a sentence rather than rows.
NO_ROWS = {"ExportReport", "explain.Explanation", "explain.MassInside"}
NO_ROWS |= {"tasks.TaggedTexts"}


@pytest.fixture(autouse=True)
def rows_as_frame(monkeypatch):
    """A pandas whose table is the rows it was made of."""
    # A class of its own: scikit-learn asks what it is given whether it is one.
    frame = type("DataFrame", (list,), {})
    made = SimpleNamespace(DataFrame=frame, Series=frame)
    monkeypatch.setitem(sys.modules, "pandas", made)


def paths_of(folder, names):
    made = []
    for number, name in enumerate(names):
        made.append(str(folder / f"{name}.png"))
        Image.new("RGB", (40, 20), (number, 0, 0)).save(made[-1])
    return made


def test_without_pandas_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    answers = Predictions(("a", "b"), np.eye(2))
    with pytest.raises(ImportError, match=r"`to_frame` needs pandas\. Install it: pip"):
        answers.to_frame()


def test_a_public_result_that_prints_is_a_table():
    prints = {
        name
        for name in CLASSES
        if "__str__" in vars(PUBLIC[name]) or hasattr(PUBLIC[name], "to_dict")
    }
    tables = {name for name in CLASSES if issubclass(PUBLIC[name], Tabular)}
    assert prints - tables <= NO_ROWS
    assert {"Splits", "ImageSet", "TextSet", "tasks.Predictions"} <= tables


def test_answers_are_a_row_each():
    paths = ("x.jpg", "y.jpg")
    answers = Predictions(("a", "b"), np.array([[0.75, 0.25], [0, 1]]), paths)
    assert answers.to_frame() == [
        {"path": "x.jpg", "label": "a", "probability": 0.75},
        {"path": "y.jpg", "label": "b", "probability": 1.0},
    ]
    several = LabelPredictions(("a", "b"), np.array([[0.9, 0.8]]), task="multilabel")
    assert several.to_frame()[0]["label"] == ("a", "b")
    numbers = NumberPredictions(("age",), np.array([[3.5]]), ("x.jpg",))
    assert numbers.to_frame() == [{"path": "x.jpg", "age": 3.5}]
    masks = MaskPredictions(("sky", "road"), (np.array([[0, 1, 1, 1]], "uint8"),))
    assert masks.to_frame() == [{"path": None, "sky": 0.25, "road": 0.75}]


def test_objects_are_a_row_each():
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "float32")
    found = Detections(
        ("cell",),
        (boxes,),
        (np.array([0, 0]),),
        (np.array([0.5, 0.125], "float32"),),
        ("x.jpg",),
    )
    [row] = found.to_frame()
    assert list(row.values()) == ["x.jpg", "cell", 0.5, 1, 2, 3, 4]


def test_a_set_is_a_row_an_example(tmp_path):
    paths = paths_of(tmp_path, "ab")
    images = kerastl.ImageSet(paths, np.array([1, 0]), ("cat", "dog"))
    assert images.to_frame() == [
        {"image": paths[0], "label": "dog"},
        {"image": paths[1], "label": "cat"},
    ]
    pixels = np.zeros((2, 8, 8), "uint8")
    several = kerastl.ImageSet(pixels, np.array([[1, 1], [0, 1]]), ("cat", "dog"))
    assert several.to_frame()[1] == {"image": 1, "cat": 0, "dog": 1}
    aged = kerastl.ImageSet(pixels, [2.0, 4.0], target_names=("age",))
    assert aged.to_frame() == [{"image": 0, "age": 2.0}, {"image": 1, "age": 4.0}]
    assert kerastl.ImageSet(pixels, None).to_frame() == [{"image": 0}, {"image": 1}]
    texts = kerastl.TextSet(["fine", "dull"], ["good", "bad"])
    assert texts.to_frame()[0] == {"text": "fine", "label": "good"}


def test_parts_are_told_apart():
    one = kerastl.ImageSet(np.zeros((1, 8, 8), "uint8"), np.array([0]), ("a",))
    parts = kerastl.Splits(one, None, one)
    assert [row["part"] for row in parts.to_frame()] == ["train", "test"]
    read = Page(parts._repr_html_())
    assert "train ImageSet(" in read.text
    assert "test ImageSet(" in read.text
    assert "validation" not in read.text


def test_a_set_shows_each_class_first(tmp_path):
    paths = paths_of(tmp_path, map(str, range(12)))
    labels = np.array([0] * 11 + [1])
    images = kerastl.ImageSet(paths, labels, ("cat", EVIL))
    html = images._repr_html_()
    shown = Page(html).all("img")
    assert EVIL not in html
    assert len(shown) == 8
    assert [each["alt"] for each in shown[:3]] == ["cat", EVIL, "cat"]
    assert all(each["src"].startswith("data:image/") for each in shown)
    assert {(each["width"], each["height"]) for each in shown} == {("40", "20")}


def test_a_broken_file_leaves_its_picture_out(tmp_path):
    paths = paths_of(tmp_path, "ab")
    (tmp_path / "a.png").write_bytes(b"no image")
    images = kerastl.ImageSet(paths, np.array([0, 1]), ("cat", "dog"))
    assert [each["alt"] for each in Page(images._repr_html_()).all("img")] == ["dog"]


def test_names_of_files_stay_text(tmp_path):
    answers = Predictions(("a", EVIL), np.eye(2), (EVIL, "y.jpg"))
    for value in (answers, kerastl.ImageSet([EVIL], np.array([0]), ("a",))):
        html = value._repr_html_()
        assert EVIL not in html
    assert EVIL in Page(answers._repr_html_()).text


def test_a_history_is_a_row_an_epoch():
    record = PhaseRecord(
        name=EVIL,
        start=0,
        stop=2,
        trainable=("w",),
        moved=("w",),
        seconds=1.0,
    )
    best = BestEpoch(EVIL, 1, "val_loss", 0.5)
    history = TrainingHistory({"loss": [1.0, 0.5]}, (record,), best)
    assert history.to_frame() == [
        {"phase": EVIL, "epoch": 1, "loss": 1.0},
        {"phase": EVIL, "epoch": 2, "loss": 0.5},
    ]
    html = history._repr_html_()
    assert EVIL not in html
    assert len(Page(html).all("tr")) == 3
    assert "best val_loss 0.5000" in Page(html).text


def test_a_report_is_a_row_a_class():
    report = classification_report([0, 1, 1], np.eye(2)[[0, 1, 0]], ("a", EVIL))
    rows = report.to_frame()
    assert [row["name"] for row in rows] == ["a", EVIL]
    assert [row["recall"] for row in rows] == [1.0, 0.5]
    assert list(rows[0]) == list(scores.ClassScores.__dataclass_fields__)


def test_a_long_table_says_what_it_leaves_out():
    answers = Predictions(("a", "b"), np.eye(2)[np.arange(60) % 2])
    read = Page(answers._repr_html_())
    assert len(read.all("tr")) == 51
    assert "60 answers" in read.text
    assert "and 10 more" in read.text
    assert len(answers.to_frame()) == 60
