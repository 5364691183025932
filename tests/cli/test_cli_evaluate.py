"""`kerastl evaluate`: the test part where there is one, classes matched by name."""

from types import SimpleNamespace

import numpy as np
import pytest

from kerastl.cli.evaluation import in_model_order
from kerastl.datasets.sets import ImageSet, Splits


@pytest.fixture
def scored(stand_in, classifier):
    """A stand-in for `evaluate`, and the image sets that it got."""
    sets = []

    class Report(SimpleNamespace):
        def to_dict(self):
            return {"accuracy": 0.5, "kappa": float("nan")}

        def __str__(self):
            return "half of them are right"

    def evaluate(model, images, *, batch_size=32):
        sets.append(images)
        return Report()

    stand_in("evaluate", evaluate)
    return sets


def image_set(count, names=("blue", "green", "red"), name=""):
    images = np.zeros((count, 8, 8, 3), "uint8")
    return ImageSet(images, np.arange(count) % len(names), names, name)


def test_a_folder_without_parts_is_scored_whole_and_says_so(
    command, scored, image_folder
):
    done = command("evaluate", "model.keras", image_folder)
    assert (done.status, done.out) == (0, "half of them are right\n")
    assert len(scored[0]) == 12
    assert "has no test part" in done.err


def test_the_test_part_of_a_folder_is_scored_alone(
    command, scored, image_folder, tmp_path
):
    parted = tmp_path / "parted"
    for file in image_folder.rglob("*.png"):
        part = "test" if int(file.stem) < 3 else "train"
        place = parted / part / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    done = command("evaluate", "model.keras", parted)
    assert done.err == ""
    assert len(scored[0]) == 3


def test_a_name_is_a_dataset(command, scored, stand_in):
    def load_dataset(name, *, validation):
        assert (name, validation) == ("colours", 0.0)
        return Splits(image_set(9), None, image_set(6))

    stand_in("load_dataset", load_dataset)
    assert command("evaluate", "model.keras", "colours").status == 0
    assert len(scored[0]) == 6


def test_json_is_the_report(command, scored, image_folder):
    done = command("evaluate", "model.keras", image_folder, "--json")
    assert done.json() == {"accuracy": 0.5, "kappa": None}


def test_labels_count_the_classes_of_the_model(classifier):
    shuffled = image_set(4, ("red", "blue", "green"))
    np.testing.assert_array_equal(shuffled.labels, [0, 1, 2, 0])
    ordered = in_model_order(shuffled, classifier)
    np.testing.assert_array_equal(ordered.labels, [2, 0, 1, 2])
    assert ordered.class_names == classifier


def test_columns_of_many_labels_follow_their_names(classifier):
    labels = np.array([[1, 0, 0], [0, 1, 1]])
    images = np.zeros((2, 8, 8, 3), "uint8")
    several = ImageSet(images, labels, ("red", "blue", "green"))
    ordered = in_model_order(several, classifier)
    np.testing.assert_array_equal(ordered.labels, [[0, 0, 1], [1, 1, 0]])


def test_other_classes_than_the_model_knows_fail(command, scored, image_folder):
    (image_folder / "red").rename(image_folder / "pink")
    done = command("evaluate", "model.keras", image_folder)
    assert done.status == 1
    assert "images of the model's classes (blue, green, red)" in done.err
    assert not scored
