"""`kerastl threshold`, `compare`, `report`, `audit --label-issues`."""

import json
import shutil

import numpy as np
import pytest
from evidence_pages import Page
from PIL import Image

import kerastl
from kerastl.cli.program import main
from kerastl.models.record import read_record


@pytest.fixture(scope="session")
def halves(tmp_path_factory):
    """A run on two classes that are hard to tell, with a test part."""
    data, output = tmp_path_factory.mktemp("halves"), tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    for number in range(60):
        label, part = number % 2, "test" if number < 20 else "train"
        pixels = np.clip(rng.normal(100 + 30 * label, 60, (8, 8, 3)), 0, 255)
        place = data / part / ("dark", "light")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype("uint8")).save(place / f"{number}.png")
    options = "--alpha 0.25 --image-size 32 --recipe linear_probe --epochs 3"
    options += " --task binary --no-best-size --output"
    assert main(["train", str(data), *options.split(), str(output)]) == 0
    return data, output


@pytest.fixture
def model(halves, tmp_path):
    for name in ("model.keras", "report.json"):
        shutil.copy(halves[1] / name, tmp_path / name)
    return tmp_path / "model.keras"


def test_a_threshold_is_kept_and_reported_on_the_test_part(command, halves, model):
    done = command("threshold", model, halves[0], "--sensitivity", "0.9", "--json")
    assert done.status == 0, done.err
    found = done.json()
    assert found["chosen"]["sensitivity"] >= 0.9
    report = json.loads((model.parent / "report.json").read_text())
    images = report["splits"]["validation"]["images"]
    counts = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    assert sum(found["chosen"][name] for name in counts) == images
    assert sum(found["tested"][name] for name in counts) == 20
    kept = read_record(kerastl.load_model(model)).operating
    assert kept["threshold"] == found["threshold"]
    assert len(kept["images"]) == images


def test_costs_are_two_numbers(command, halves, model):
    done = command("threshold", model, halves[0], "--costs", "1", "5")
    assert done.status == 0, done.err
    assert "for costs [1.0, 5.0]" in done.out
    assert "tested on: threshold" in done.out


def test_without_an_aim_it_says_which_there_are(command, halves, model):
    done = command("threshold", model, halves[0])
    assert done.status == 1
    assert "one of sensitivity, specificity, precision and costs" in done.err


def test_two_models_are_compared_on_the_test_part(command, halves, model):
    done = command("compare", model, model, halves[0] / "test", "--json")
    assert done.status == 0, done.err
    assert done.json()["paired"]["difference"] == 0.0
    assert done.json()["images"] == 20
    done = command("compare", model, model, halves[0], "--resamples", "10")
    assert "20 images" in done.out
    assert "probably not have been seen" in done.out


def test_an_audit_looks_for_wrong_labels_where_asked(command, halves):
    plain = command("audit", halves[0], "--json").json()
    assert "label_issues" not in plain
    options = ["--label-issues", "--alpha", "0.25", "--image-size", "32"]
    done = command("audit", halves[0], *options, "--json")
    assert done.status == 0, done.err
    assert done.json()["label_issues"]["images"] == 40
    said = command("audit", halves[0], *options).out
    assert "of 40 labels look wrong" in said
    assert said.startswith(command("audit", halves[0]).out.rstrip())


def test_a_report_is_of_the_part_that_the_run_scored_last(command, halves, tmp_path):
    data, run = halves
    path = tmp_path / "report.html"
    done = command("report", run, data, "-o", path, "--json")
    assert done.status == 0, done.err
    assert done.json()["part"] == "test"
    assert done.json()["images"] == 20
    read = Page(path.read_text(encoding="utf-8"))
    known = json.loads((run / "report.json").read_text())["test"]["accuracy"]
    assert read.report["scores"]["accuracy"] == known
    assert read.report["issues"]["images"] == 20
    assert (
        Page((run / "report.html").read_text(encoding="utf-8")).report["issues"] is None
    )
    again = command("report", run, data, "-o", path)
    assert again.status == 2
    assert "Pass --overwrite to replace it" in again.err


def test_other_images_are_scored_whole_and_a_card_is_text(command, halves, tmp_path):
    data, run = halves
    path = tmp_path / "card.md"
    done = command("report", run / "model.keras", data / "test", "--card", "-o", path)
    assert done.status == 0, done.err
    assert "is not what the run was given" in done.err
    assert path.read_text(encoding="utf-8").startswith("---\nlibrary_name: keras")
    missing = command("report", tmp_path, data)
    assert missing.status == 1
    assert "a run or a model's file" in missing.err
