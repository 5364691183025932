"""From a file of texts to a saved model, in one call and by the command line."""

import contextlib
import importlib
import io
import json

import numpy as np
import pytest
from text_sets import LABELS, NAMES, TEXTS, backbone, classifier

import kerastl
from kerastl.cli.program import main
from kerastl.selection import ranking
from kerastl.tasks.building import usual_backbone

# Of a model's file the backbone is taken; the texts are made from one pattern.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The head of"),
    pytest.mark.filterwarnings("ignore:.*nearly copied"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny network's file, and a table of texts."""
    folder = tmp_path_factory.mktemp("texts")
    kerastl.save_model(classifier(), folder / "start.keras")
    rows = [f"{text},{NAMES[label]}" for text, label in zip(TEXTS, LABELS, strict=True)]
    (folder / "reviews.csv").write_text("\n".join(["review,sentiment", *rows]))
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """A run of the command, with what it printed."""
    options = ["--backbone", str(folder / "start.keras"), "--recipe", "linear_probe"]
    options += ["--epochs", "8", "--learning-rate", "0.1", "--dropout", "0"]
    options += ["--output", str(folder / "run"), "--json", "--label", "sentiment"]
    return called("train", folder / "reviews.csv", "--text", "review", *options)


def called(*words):
    """Exit status and last line of standard output, and all of standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(map(str, words)))
    return status, out.getvalue(), err.getvalue()


def test_the_command_trains_on_a_table_and_predicts(folder, trained):
    status, out, err = trained
    assert status == 0, err
    record = json.loads(out.splitlines()[-1])
    assert record["settings"]["truncate"] == "head"
    assert "image_size" not in record["settings"]
    model = folder / "run" / "model.keras"
    status, out, _ = called("predict", model, "the film was very fine .", "--jsonl")
    row = json.loads(out.splitlines()[-1])
    assert status == 0 and row["text"] == "the film was very fine ."
    assert row["label"] in NAMES
    file = folder / "new.txt"
    file.write_text("\n".join(TEXTS[:4]))
    status, out, _ = called("predict", model, file)
    lines = out.splitlines()
    assert status == 0 and lines[0] == "text,label,probability" and len(lines) == 5
    status, out, _ = called("evaluate", model, folder / "reviews.csv", "--json")
    report = json.loads(out.splitlines()[-1])
    found = kerastl.predict(kerastl.load_model(model), TEXTS)
    right = [name == NAMES[i] for name, i in zip(found.labels, LABELS, strict=True)]
    assert status == 0 and report["accuracy"] == pytest.approx(np.mean(right))
    names = {path.name for path in (folder / "run").iterdir()}
    assert {"model.keras", "report.json", "confusion.png", "curves.png"} <= names
    assert "examples.png" not in names


def test_the_other_commands_take_texts(folder, trained):
    model, table = folder / "run" / "model.keras", folder / "reviews.csv"
    assert called("calibrate", model, table)[0] == 0
    status, out, _ = called("audit", table, "--model", model, "--json")
    report = json.loads(out.splitlines()[-1])
    assert status == 0 and report["num_texts"] == len(TEXTS)
    assert report["unknown"] == 0 and report["over_length"] <= 0.05
    network = ["--backbone", str(folder / "start.keras")]
    status, _, err = called("features", table, *network, "--output", folder / "f.npz")
    assert status == 0, err
    with np.load(folder / "f.npz") as arrays:
        assert arrays["features"].shape == (len(TEXTS), 16)
    status, out, err = called(
        "rank", table, "--candidates", folder / "start.keras", "--json"
    )
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["images"] == len(TEXTS)


def test_nothing_said_means_the_bundled_network(folder, tmp_path):
    options = ["--recipe", "linear_probe", "--epochs", "1", "--json"]
    output = ["--output", tmp_path / "run"]
    status, _, err = called("train", folder / "reviews.csv", *options, *output)
    assert status == 0, err
    model = kerastl.load_model(tmp_path / "run" / "model.keras")
    record = kerastl.models.record.read_record(model)
    assert (record.backbone, record.weights) == ("mini_text", "MiniText")
    assert model.input["token_ids"].shape == (None, None)


def test_a_network_of_images_is_none_for_texts(folder):
    images = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
    with pytest.raises(ValueError, match="'MiniText', which is bundled"):
        kerastl.transfer(folder / "reviews.csv", backbone=images)


def test_without_keras_hub_one_sentence_says_what_to_install(folder, monkeypatch):
    found = importlib.import_module

    def missing(name, package=None):
        if name == "keras_hub":
            raise ImportError(name)
        return found(name, package)

    monkeypatch.setattr("kerastl._compat.importlib.import_module", missing)
    status, _, err = called("train", folder / "reviews.csv")
    assert status == 1
    assert "Install it: pip install 'kerastl[hub]'" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 64}, "left out for texts"),
        ({"recipe": "auto"}, "one by name for texts"),
        ({"augment": "light"}, "None for texts"),
        ({"sequence_length": 2}, "at least 3"),
        ({"truncate": "end"}, "'head'"),
        ({"sequence_length": 50}, "positions"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        kerastl.transfer(folder / "reviews.csv", backbone=backbone(), **options)
    assert not list(folder.glob("kerastl-*"))


def test_rows_are_as_long_as_the_training_texts_need(folder):
    result = kerastl.transfer(
        folder / "reviews.csv",
        backbone=backbone(),
        recipe="linear_probe",
        epochs=1,
        truncate="tail",
    )
    # Six pieces, a start and an end.
    assert result.report["settings"]["sequence_length"] == 8
    assert result.report["settings"]["truncate"] == "tail"
    assert result.report["validation"]["images"] == len(result.splits.validation)
    assert f"{len(result.splits.validation)} texts" in str(result)


@pytest.mark.parametrize(
    ("name", "texts", "images"),
    [
        ("MobileNet", "MiniText", "MobileNet"),
        ("mobilenet", "MiniText", "mobilenet"),
        ("ResNet50", "ResNet50", "ResNet50"),
        ("MiniText", "MiniText", "MiniText"),
    ],
)
def test_what_is_taken_where_nobody_says_a_network(name, texts, images):
    pictures = kerastl.ImageSet(np.zeros((2, 8, 8, 3), "uint8"), [0, 1], NAMES)
    assert usual_backbone(name, kerastl.TextSet(TEXTS, LABELS, NAMES)) == texts
    assert usual_backbone(name, pictures) == images


def test_a_language_model_takes_the_network_that_foresees():
    texts = kerastl.TextSet(TEXTS)
    assert usual_backbone("MobileNet", texts, "language") == "MiniGPT"
    assert usual_backbone("ResNet50", texts, "language") == "ResNet50"


def test_settings_are_searched_on_a_table_of_texts(folder):
    start = str(folder / "start.keras")
    options = ["--backbone", start, "--trials", "2", "--epochs", "1", "--json"]
    options += ["--recipes", "linear_probe", "full", "--dropouts", "0"]
    status, out, err = called("tune", folder / "reviews.csv", *options)
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])
    assert len(found["trials"]) == 2 and found["best"]["backbone"] == start
    assert {trial["monitor"] for trial in found["trials"]} == {"val_accuracy"}
    assert f"--backbone {start}" in found["command"]
    status, out, err = called(*found["command"].split()[1:], "--epochs", "1")
    assert status == 0, err


def test_advice_is_for_images(folder):
    status, _, err = called("advise", folder / "reviews.csv")
    assert status == 1 and "advice is measured on pixels" in err


def test_networks_of_texts_are_ranked_where_nobody_names_any(monkeypatch):
    seen = []

    def read(candidates, defaults):
        seen.append(candidates)
        raise ValueError("far enough")

    monkeypatch.setattr(ranking, "read_candidates", read)
    for data in (kerastl.TextSet(TEXTS, LABELS, NAMES), "digits"):
        with pytest.raises(ValueError, match="far enough"):
            ranking.rank_backbones(data)
    assert seen == [["MiniText"], None]
