"""`kerastl calibrate`: the validation part of training, and a model that knows T."""

import json
import shutil
from types import SimpleNamespace

import pytest

import kerastl
from kerastl import workflow
from kerastl.models.record import read_record


@pytest.fixture
def model(trained, tmp_path):
    """A copy of the trained model, beside its report."""
    for name in ("model.keras", "report.json"):
        shutil.copy(trained.output / name, tmp_path / name)
    return tmp_path / "model.keras"


@pytest.fixture
def fitted(stand_in):
    """A stand-in for `calibrate`, and the images that it got."""
    seen = []

    def fake(model, images, *, progress):
        from kerastl.models.record import set_temperature
        from kerastl.prediction import CalibrationResult

        seen.append(images)
        set_temperature(model, 2.5)
        scores = {"log_loss": 0.5, "expected_calibration_error": 0.1}
        return CalibrationResult(2.5, len(images), scores, scores)

    stand_in("calibrate", fake)
    return seen


def test_the_model_is_written_with_its_temperature(command, trained, model, fitted):
    done = command("calibrate", model, trained.data, "--json")
    assert done.status == 0
    assert done.json()["temperature"] == 2.5
    assert done.json()["output"] == str(model)
    assert read_record(kerastl.load_model(model)).temperature == 2.5


def test_the_images_are_those_the_run_chose_by(command, trained, model, fitted):
    report = json.loads((trained.output / "report.json").read_text())
    done = command("calibrate", model, trained.data)
    assert len(fitted[0]) == report["splits"]["validation"]["images"]
    assert done.err == ""
    assert "temperature 2.500" in done.out


@pytest.mark.filterwarnings("always:These are")
def test_the_seed_is_that_of_the_report(trained, model, monkeypatch):
    report = json.loads((model.parent / "report.json").read_text())
    report["settings"]["seed"] = 7
    (model.parent / "report.json").write_text(json.dumps(report))
    asked = []

    def open_data(data, **options):
        asked.append(options)
        return SimpleNamespace(validation=[0] * 5, test=None)

    monkeypatch.setattr(workflow, "open_data", open_data)
    for extra in ({}, {"seed": 3, "validation": 0.4}):
        workflow.images_chosen_by(model, "x", **extra)
    assert [options["seed"] for options in asked] == [7, 3]
    assert [options["validation"] for options in asked] == [0.15, 0.4]


@pytest.mark.filterwarnings("always:These are")
@pytest.mark.parametrize(("data", "folder"), [("x", None), ("x.csv", "faces")])
def test_the_data_are_read_as_in_training(tmp_path, monkeypatch, data, folder):
    settings = {"on_bad": "skip", "labels": "kind", "folder": "faces"}
    text = json.dumps({"settings": settings})
    (tmp_path / "report.json").write_text(text)
    asked = {}

    def open_data(data, **options):
        asked.update(options)
        return SimpleNamespace(validation=[0] * 5, test=None)

    monkeypatch.setattr(workflow, "open_data", open_data)
    workflow.images_chosen_by(tmp_path / "model.keras", data)
    assert asked["on_bad"] == "skip"
    assert asked.get("folder") == folder


def test_the_shares_are_those_of_the_report(command, image_folder, tmp_path):
    options = "--alpha 0.25 --image-size 32 --recipe linear_probe --epochs 2"
    shares = "--validation 0.5 --test 0.25"
    run = tmp_path / "run"
    command("train", image_folder, *options.split(), *shares.split(), "--output", run)
    report = json.loads((run / "report.json").read_text())
    model = run / "model.keras"
    counted = workflow.images_chosen_by(model, str(image_folder)).counts()
    assert counted == report["splits"]["validation"]["classes"]


@pytest.mark.filterwarnings("always:These are")
def test_another_cut_than_that_of_training_warns(command, trained, model, fitted):
    done = command("calibrate", model, trained.data, "--validation", "0.5")
    assert done.status == 0
    assert "but the run chose by" in done.err


def test_another_file_leaves_the_model_alone(command, trained, model, fitted, tmp_path):
    before = model.read_bytes()
    output = tmp_path / "honest.keras"
    assert command("calibrate", model, trained.data, "--output", output).status == 0
    assert model.read_bytes() == before
    assert read_record(kerastl.load_model(output)).temperature == 2.5


@pytest.mark.parametrize("output", ["honest.txt", "absent/honest.keras"])
def test_an_output_that_cannot_be_is_refused_before_the_work(
    command, trained, model, fitted, tmp_path, output
):
    done = command("calibrate", model, trained.data, "--output", tmp_path / output)
    assert (done.status, done.out) == (2, "")
    assert not fitted


@pytest.mark.filterwarnings("always:These are")
def test_the_score_improves_on_those_images(command, trained, model, tmp_path):
    # Every third image of red is called blue: nobody could be right and certain.
    data = shutil.copytree(trained.data / "train", tmp_path / "doubtful")
    for file in sorted((data / "red").iterdir())[::3]:
        file.rename(data / "blue" / file.name)
    done = command("calibrate", model, data, "--validation", "0.6", "--json")
    assert done.status == 0
    assert done.json()["after"]["log_loss"] < done.json()["before"]["log_loss"]


def test_data_without_validation_images_fail_and_write_nothing(command, trained, model):
    before = model.read_bytes()
    done = command("calibrate", model, trained.data, "--validation", "0")
    assert (done.status, done.out) == (1, "")
    assert "--validation 0.15" in done.err
    assert model.read_bytes() == before


@pytest.mark.parametrize("report", [None, "not json", "[1]"])
def test_without_a_report_it_takes_what_train_takes(tmp_path, monkeypatch, report):
    if report is not None:
        (tmp_path / "report.json").write_text(report)
    asked = []

    def open_data(data, *, progress, **options):
        asked.append(options)
        return SimpleNamespace(validation=[0] * 5, test=None)

    monkeypatch.setattr(workflow, "open_data", open_data)
    workflow.images_chosen_by(tmp_path / "model.keras", "x")
    assert asked == [{"validation": 0.15, "test": 0.0, "seed": 0}]
