"""`kerastl lr`: the sweep of the library, as text, JSON and a picture."""

import json

import numpy as np
import pytest
from PIL import Image

from kerastl.training.rate_finder import RateCurve

OPTIONS = ("--alpha", "0.25", "--image-size", "32", "--steps", "12")


@pytest.fixture
def sweep(monkeypatch):
    """A stand-in for the search, and the calls that it got."""
    calls = []

    def fake(model, train, *, progress, **options):
        calls.append((model, train, options))
        rates = np.logspace(-4, 0, 5)
        found = {"valley": 1e-3, "steepest": 2e-3, "minimum": 1e-2}
        return RateCurve(rates, np.ones(5), np.full(5, np.nan), found, "stopped")

    monkeypatch.setattr("kerastl.workflow.find_learning_rate", fake)
    return calls


def test_a_sweep_prints_its_suggestions(command, image_folder):
    done = command("lr", image_folder, *OPTIONS)
    assert done.status == 0, done.err
    assert "rates from 1e-07" in done.lines[-1]


def test_json_is_the_curve(command, image_folder, sweep):
    record = command("lr", image_folder, *OPTIONS, "--json").json()
    assert record["suggestion"] == 1e-3
    assert record["suggestions"]["minimum"] == 1e-2
    assert record["smoothed"] == [None] * 5
    np.testing.assert_allclose(record["rates"], np.logspace(-4, 0, 5))


def test_options_reach_the_library(command, image_folder, sweep):
    more = ("--batch-size", "4", "--optimizer", "sgd", "--augment", "light")
    command("lr", image_folder, *OPTIONS, *more, "--seed", "3", "--trainable", "2")
    ((model, train, options),) = sweep
    assert options == {
        "steps": 12,
        "batch_size": 4,
        "optimizer": "sgd",
        "augment": "light",
        "seed": 3,
        "trainable": 2,
    }
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 3)
    assert train.class_names == ("blue", "green", "red")
    # The rest is what `kerastl train` would choose by.
    assert len(train) == 9


@pytest.mark.parametrize(("text", "value"), [("head", "head"), ("0", 0)])
def test_what_trains_is_a_number_or_a_name(command, image_folder, sweep, text, value):
    command("lr", image_folder, *OPTIONS, "--trainable", text)
    assert sweep[0][2]["trainable"] == value


def test_backbone_and_weights_reach_the_network(command, image_folder, sweep):
    command(
        *("lr", image_folder, "--backbone", "MobileNetV2", "--weights", "none"),
        *("--alpha", "0.35", "--image-size", "32", "--resize", "pad"),
    )
    from kerastl.models.record import read_record

    record = read_record(sweep[0][0])
    assert (record.backbone, record.weights) == ("MobileNetV2", "none")
    assert record.resize == "pad"


def test_the_bundled_weights_are_the_default(command, image_folder, sweep):
    command("lr", image_folder, *OPTIONS)
    from kerastl.models.record import read_record

    assert read_record(sweep[0][0]).weights == "tiny"
    assert sweep[0][2] == {"steps": 12}


def test_the_picture_is_written(command, image_folder, sweep, tmp_path):
    file = tmp_path / "lr.png"
    done = command("lr", image_folder, *OPTIONS, "--output", file)
    assert done.status == 0, done.err
    assert "valley 1.0e-03" in Image.open(file).text["Description"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--output", "x.gif"), "ending in .png, .svg, .pdf"),
        (("--output", "absent/x.png"), "Make the folder 'absent' first"),
        (("--backbone", "MobileNat"), "Did you mean 'MobileNet'"),
        (("--trainable", "conv_99"), "`trainable` must be"),
        (("--steps", "3"), "`steps` must be at least 10"),
        (("--optimizer", "adamx"), "`optimizer` must be"),
    ],
)
def test_bad_arguments_are_told_in_one_line(command, image_folder, more, words):
    done = command("lr", image_folder, "--alpha", "0.25", "--image-size", "32", *more)
    assert done.status == 2
    assert words in done.err
    assert (done.out, done.err.count("\n")) == ("", 1)


def test_a_picture_that_cannot_be_written_is_told_before_the_work(command, sweep):
    assert command("lr", "no-such-folder", "--output", "x.gif").status == 2
    assert not sweep


def test_the_command_explains_itself(command):
    done = command("lr", "--help")
    assert done.status == 0
    assert "usage: kerastl lr" in done.out
    assert json.dumps("--trainable").strip('"') in done.out
