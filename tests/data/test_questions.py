"""The bundled table of texts: what its card says is true."""

import collections
import csv
from pathlib import Path

import pytest

import kerastl

FOLDER = Path(__file__).parents[2] / "kerastl" / "questions"


def rows():
    with (FOLDER / "questions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_parts_and_topics_are_as_many_as_the_card_says():
    counts = collections.Counter((row["part"], row["topic"]) for row in rows())
    each = {"train": 50, "test": 20}
    assert len(counts) == 20
    assert all(count == each[part] for (part, _), count in counts.items())
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "| train | 500, 50 of each topic |" in card
    assert "| test | 200, 20 of each topic |" in card
    assert "Attribution 4.0" in card and "arXiv:2003.04807" in card


def test_no_question_stands_twice():
    texts = ["".join(filter(str.isalnum, row["question"].lower())) for row in rows()]
    assert len(set(texts)) == len(texts) == 700


@pytest.mark.filterwarnings("ignore:.*nearly copied")
def test_the_table_is_read():
    train, validation, test = kerastl.open_data(FOLDER / "questions.csv", split="part")
    assert len(train) + len(validation) == 500
    assert len(test) == 200
    assert train.class_names == test.class_names
    assert len(train.class_names) == 10
