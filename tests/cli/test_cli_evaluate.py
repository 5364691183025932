"""`kerastl evaluate`: the test part where there is one, classes matched by name."""

import json
import shutil

import numpy as np
import pytest

import kerastl
from kerastl.cli.commands import images_to_score
from kerastl.data.sets import ImageSet, Splits


def image_set(count):
    images = np.zeros((count, 8, 8, 3), "uint8")
    return ImageSet(images, np.arange(count) % 3, ("blue", "green", "red"))


def test_the_score_is_that_of_the_report_of_training(command, trained):
    report = json.loads((trained.output / "report.json").read_text())
    done = command("evaluate", trained.model, trained.data, "--json")
    assert done.status == 0
    assert done.json()["accuracy"] == report["test"]["accuracy"]
    assert done.json()["images"] == report["test"]["images"] == 7
    assert done.json()["accuracy"] < 1
    assert done.err == ""


def test_without_json_the_report_is_a_table(command, trained):
    done = command("evaluate", trained.model, trained.data)
    assert all(name in done.out for name in ("blue", "green", "red"))


def test_views_are_averaged(command, trained):
    done = command("evaluate", trained.model, trained.data, "--json", "--views", "2")
    model = kerastl.load_model(trained.model)
    expected = kerastl.evaluate(model, images_to_score(str(trained.data)), views=2)
    assert done.json()["metrics"]["log_loss"] == expected.metrics["log_loss"]


def test_a_folder_without_parts_is_scored_whole_and_says_so(command, trained):
    done = command("evaluate", trained.model, trained.data / "train", "--json")
    assert done.json()["images"] == 30
    assert "has no test part" in done.err


def test_a_name_is_a_dataset(monkeypatch):
    def load_dataset(name, *, validation, **_):
        assert (name, validation) == ("cifar10", 0.0)
        return Splits(image_set(9), None, image_set(6))

    monkeypatch.setattr("kerastl.data.inputs.load_dataset", load_dataset)
    assert len(images_to_score("cifar10")) == 6


def test_a_name_that_is_neither_folder_nor_dataset_fails(command, trained):
    done = command("evaluate", trained.model, "digit")
    assert (done.status, done.out) == (1, "")
    assert "digits" in done.err


@pytest.mark.parametrize("data", ["absent", "./absent", "~/absent"])
def test_a_folder_that_is_not_there_is_called_missing(command, trained, data):
    done = command("evaluate", trained.model, data)
    assert (done.status, done.out) == (1, "")
    assert "must be an existing folder" in done.err
    assert "does not exist" in done.err
    assert done.err.count("\n") == 1


def test_other_classes_than_the_model_knows_fail(command, trained, tmp_path):
    shutil.copytree(trained.data / "test", tmp_path / "other")
    (tmp_path / "other" / "red").rename(tmp_path / "other" / "pink")
    done = command("evaluate", trained.model, tmp_path / "other")
    assert (done.status, done.out) == (1, "")
    assert "pink" in done.err
    assert done.err.splitlines()[-1].startswith("kerastl: error: ")
