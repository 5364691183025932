"""`transfer` with a teacher: a model, or its file, as the command line has it."""

import json

import numpy as np
import pytest
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    small_classifier,
    teach_head,
    values,
)

import kerastl
from kerastl.cli.program import main

IMAGES, LABELS = coloured(8, 32)
DATA = IMAGES, LABELS, CLASSES
QUICK = {"alpha": 0.25, "image_size": 32, "recipe": "linear_probe", "epochs": 2}
QUICK |= {"augment": None, "best_size": False, "verbose": 0, "validation": 0.25}


@pytest.fixture(scope="module")
def teacher():
    return small_classifier(learnt=True)


@pytest.fixture(scope="module")
def file(teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    kerastl.save_model(teacher, path)
    return path


def test_a_model_and_its_file_teach_the_same(teacher, file):
    alone = kerastl.transfer(DATA, **QUICK)
    taught = [kerastl.transfer(DATA, **QUICK, teacher=t) for t in (teacher, file)]
    assert_same_weights(taught[0].model, values(taught[1].model))
    kernels = [
        result.model.get_layer("head_dense").kernel for result in (alone, taught[0])
    ]
    assert np.abs(np.subtract(*map(np.asarray, kernels))).max() > 1e-3
    assert taught[0].report["settings"]["teacher"] == teacher.name
    assert taught[1].report["settings"]["teacher"] == str(file)
    assert alone.report["settings"]["teacher"] is None


def test_the_student_of_transfer_is_that_of_fine_tune(file):
    result = kerastl.transfer(DATA, **QUICK, teacher=file)
    train, validation, _ = kerastl.open_data(DATA, validation=0.25)
    options = {"alpha": 0.25, "image_size": 32, "weights": "tiny", "seed": 0}
    student = kerastl.build_classifier("MobileNet", CLASSES, **options)
    options = {"recipe": "linear_probe", "epochs": 2, "seed": 0, "verbose": 0}
    kerastl.fine_tune(student, train, validation, teacher=file, **options)
    assert_same_weights(student, values(result.model))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"teacher": "nowhere.keras"}, FileNotFoundError, "a file that exists"),
        ({"teacher": "weights.h5"}, ValueError, r"a classifier or its \.keras file"),
        ({"teacher": np.ones((18, 3)) / 3}, TypeError, "are for `fine_tune`"),
        ({"class_weight": "balanced"}, ValueError, "None beside a teacher"),
    ],
)
def test_what_can_be_no_teacher_is_refused_before_the_data(
    teacher, options, error, words
):
    with pytest.raises(error, match=words):
        kerastl.transfer("nowhere", **{"teacher": teacher, **options})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((LABELS, CLASSES[::-1]), "of the model's classes, in order"),
        ((LABELS % 2, ("no", "yes")), "`teacher` must be"),
        ((np.eye(3, dtype=int)[LABELS] | 1, CLASSES), "None for this model"),
        ((LABELS / 7, ("age",)), "None for this model"),
    ],
)
def test_a_teacher_of_something_else_is_refused_before_training(teacher, labels, words):
    with pytest.raises(ValueError, match=words):
        kerastl.transfer((IMAGES, *labels), **QUICK, teacher=teacher)


def test_the_command_line_has_teachers_and_channels(
    image_folder, tmp_path, capsys, file
):
    classes = kerastl.open_data(image_folder, validation=0.0).class_names
    model = small_classifier(classes)
    teach_head(model)
    kerastl.save_model(model, tmp_path / "own.keras")
    words = ["train", str(image_folder), "--alpha", "0.25", "--image-size", "32"]
    words += ["--recipe", "linear_probe", "--epochs", "1", "--channels", "1", "--json"]
    words += ["-o", str(tmp_path / "run"), "--validation", "0.25"]
    assert main([*words, "--teacher", str(tmp_path / "own.keras")]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["settings"]["teacher"] == str(tmp_path / "own.keras")
    student = kerastl.load_model(tmp_path / "run" / "model.keras")
    assert student.input_shape == (None, 32, 32, 1)
    capsys.readouterr()
    assert main([*words, "--overwrite", "--teacher", str(file)]) == 2
    assert "of the model's classes" in capsys.readouterr().err
