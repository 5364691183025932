"""A run of `transfer` that is stopped goes on in its folder, to the same files."""

import csv
import json
from pathlib import Path

import keras
import pytest
from networks import CLASSES, coloured

import kerastl
from kerastl import artifacts
from kerastl.artifacts import EndedError
from kerastl.training import resume

DATA = kerastl.ImageSet(*coloured(10, 24), CLASSES)
QUICK = {
    "alpha": 0.25,
    "image_size": 32,
    "recipe": "linear_probe",
    "epochs": 3,
    "learning_rate": 0.05,
    "augment": None,
    "verbose": 0,
    "best_size": False,
    "test": 0.2,
}


def run(folder, **options):
    return kerastl.transfer(DATA, **{**QUICK, **options}, resume=folder)


def told(folder):
    """What the files of a run say, but for times and places."""
    report = json.loads((folder / "report.json").read_text())
    for timed in (report, *report["phases"], report["validation"], report["test"]):
        del timed["seconds"]
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    for row in rows:
        del row["seconds"]
    model = keras.models.load_model(folder / "model.keras", compile=False)
    return report, rows, [weight.tobytes() for weight in model.get_weights()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One that was left alone, and one that was stopped twice and went on."""
    place = tmp_path_factory.mktemp("runs")
    options = {**QUICK, "output": place / "alone"}
    kerastl.transfer(DATA, **options)

    def stop(*_):
        raise KeyboardInterrupt

    for owner, name in ((resume.States, "end_run"), (artifacts, "_history_csv")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resume, "SPARING", 0)
            patch.setattr(owner, name, stop)
            with pytest.raises(KeyboardInterrupt):
                run(place / "stopped")
    # The second time it broke off while it wrote: what was trained is there.
    with pytest.warns(UserWarning, match="has ended: nothing is trained"):
        run(place / "stopped")
    return place


def test_a_run_that_was_stopped_ends_with_the_same_files(runs):
    assert told(runs / "stopped") == told(runs / "alone")
    own = {path.name for path in (runs / "stopped").iterdir()}
    assert own == {path.name for path in (runs / "alone").iterdir()} | {"resume"}


def test_an_ended_run_keeps_no_states_and_does_nothing(runs):
    folder = runs / "stopped"
    assert [path.name for path in (folder / "resume").iterdir()] == ["run.json"]
    before = (folder / "model.keras").stat().st_mtime_ns
    with pytest.raises(EndedError, match=r"The run in .*stopped has ended"):
        run(folder)
    assert (folder / "model.keras").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"recipe": "lp_ft"}, "recipe 'linear_probe', not 'lp_ft'"),
        (
            {"backbone": "ResNet50", "alpha": None, "weights": None},
            "backbone 'MobileNet', not 'ResNet50'",
        ),
        ({"epochs": 4}, "epochs 3, not 4"),
        ({"seed": 1}, "seed 0, not 1"),
    ],
)
def test_another_run_is_refused_by_name(runs, options, name):
    with pytest.raises(ValueError, match=rf"`resume` must be .*begun with {name}"):
        run(runs / "stopped", **options)


def test_a_folder_of_something_else_is_refused(runs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, runs / "alone"):
        with pytest.raises(ValueError, match="`resume` must be a new or empty folder"):
            run(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_second_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="left out beside `resume`"):
        kerastl.transfer(DATA, **QUICK, resume=tmp_path / "a", output=tmp_path / "b")


def test_one_that_was_killed_before_it_began_begins(tmp_path):
    (tmp_path / "run" / "resume").mkdir(parents=True)
    (tmp_path / "run" / ".kerastl-run").write_text("")
    folder = artifacts.ResumedFolder(tmp_path / "run", {"recipe": Path("x")})
    with folder:
        assert json.loads((folder.states / "run.json").read_text()) == {
            "given": {"recipe": "x"},
            "ended": False,
        }
