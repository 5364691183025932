"""What notebooks show of results: tables whose names stay text."""

import numpy as np
import pytest
from evidence_pages import Page

import kerastl
from kerastl._tables import cell, picture, table
from kerastl.evidence.page import data_block
from kerastl.metrics import find_label_issues, slice_report
from kerastl.tasks.classification import Predictions, classification_report

EVIL = "<img src=x onerror=alert(1)>"
NAMES = (EVIL, "b")


def shown(value):
    html = value._repr_html_()
    assert EVIL not in html
    return Page(html)


def test_a_report_shows_each_class():
    report = classification_report([0, 1, 1], np.eye(2)[[0, 1, 0]], NAMES)
    read = shown(report)
    assert len(read.all("tr")) == 3
    assert EVIL in read.text
    assert "66.7 %" in read.text


def test_predictions_show_the_first_fifty():
    read = shown(Predictions(NAMES, np.eye(2)[np.arange(60) % 2]))
    assert len(read.all("tr")) == 51
    assert "and 10 more" in read.text


def test_a_set_shows_its_counts():
    images = kerastl.ImageSet(np.zeros((3, 8, 8), "uint8"), np.array([0, 1, 1]), NAMES)
    read = shown(images)
    assert f"{EVIL} 1" in read.text
    assert "b 2" in read.text
    assert len(shown(kerastl.ImageSet(np.zeros((3, 8, 8)), None)).all("tr")) == 0


def test_suspects_and_groups_are_tables():
    rows = np.repeat([[0.0], [9.0]], 10, axis=0) + np.arange(20)[:, None] / 20
    labels = np.repeat([0, 1], 10)
    labels[3] = 1
    read = shown(find_label_issues(rows, labels, class_names=NAMES))
    assert len(read.all("tr")) == 2
    right = [1] * 30 + [0] * 30
    groups = {EVIL: [EVIL] * 30 + ["b"] * 30}
    read = shown(slice_report([1] * 60, right, groups))
    assert len(read.all("tr")) == 3
    assert "worse than the rest: " in read.text


def test_no_text_ends_a_block_of_data():
    value = {"name": "</script><b>", "nan": float("nan"), "rows": [1.5, None]}
    block = data_block("report", value)
    assert block.count("<") == 2
    read = Page(block)
    assert read.report == {**value, "nan": None}
    assert [tag for tag, _ in read.elements] == ["script"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (True, "yes"),
        (0.123456, "0.1235"),
        ("<", "&lt;"),
    ],
)
def test_a_cell_is_short_and_escaped(value, text):
    assert cell(value) == text
    assert table([]) == ""


def test_characters_that_hide_or_turn_are_replaced():
    assert cell("a\u202eb\x00c") == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3), (4, 6, 4), (4, 6, 5)])
def test_any_image_becomes_a_picture(shape):
    read = Page(picture(np.full(shape, 100.0), 'a "b"', side=3))
    [image] = read.all("img")
    assert (image["width"], image["height"], image["alt"]) == ("3", "2", 'a "b"')
