"""`transfer` from a folder of images to a scored, saved classifier."""

import csv
import importlib
import json
import platform
import shutil

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, small_network
from PIL import Image

import kerastl
from kerastl import artifacts
from kerastl.training.watching import BestWeights

QUICK = {
    "alpha": 0.25,
    "image_size": 32,
    "recipe": "linear_probe",
    "epochs": 3,
    "learning_rate": 0.05,
    "augment": None,
    "verbose": 0,
    "best_size": False,
}
FILES = [
    "confusion.png",
    "curves.png",
    "examples.png",
    "history.csv",
    "model.keras",
    "report.html",
    "report.json",
]


def write_images(place, per_class, seed=0):
    """Class folders of coloured 20x28 images; returns the folder."""
    images, labels = coloured(per_class, 28, seed)
    for number, (image, label) in enumerate(zip(images[:, :20], labels, strict=True)):
        folder = place / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "leaves", 10)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """One run that the tests look at: (result, its folder)."""
    output = tmp_path_factory.mktemp("runs") / "first"
    result = kerastl.transfer(photos, **QUICK, test=0.2, seed=1, output=output)
    return result, output


def report_of(output):
    return json.loads((output / "report.json").read_text(encoding="utf-8"))


def test_every_file_is_there_and_nothing_else(run):
    assert sorted(path.name for path in run[1].iterdir()) == FILES


def test_the_report_has_scores_of_training_images_as_they_are(run):
    result, output = run
    (phase,) = report_of(output)["phases"]
    model, train = result.model, result.splits.train
    assert phase["clean"]["images"] == len(train)
    assert phase["clean"]["accuracy"] == pytest.approx(
        kerastl.evaluate(model, train).accuracy
    )


def test_the_saved_model_is_the_returned_one(run, photos):
    result, output = run
    loaded = kerastl.load_model(output / "model.keras")
    np.testing.assert_allclose(
        kerastl.predict(loaded, photos).probabilities,
        kerastl.predict(result.model, photos).probabilities,
        rtol=1e-5,
        atol=1e-6,
    )
    assert kerastl.class_names(loaded) == CLASSES


def test_the_pictures_are_pictures(run):
    for name in FILES[:3]:
        with Image.open(run[1] / name) as picture:
            assert picture.format == "PNG"
            picture.load()


def test_the_report_says_what_was_done(run):
    report = report_of(run[1])
    assert set(report) == {
        "data",
        "headline",
        "class_names",
        "splits",
        "settings",
        "phases",
        "best",
        "seconds",
        "validation",
        "test",
        "image_sizes",
    }
    wanted = {
        "backbone": "MobileNet",
        "weights": "tiny",
        "image_size": [32, 32],
        "recipe": "linear_probe",
        "seed": 1,
        "backend": keras.backend.backend(),
        # As the model and its images were made, too.
        "alpha": 0.25,
        "precision": None,
        "dropout": 0.2,
        "validation": 0.15,
        "test": 0.2,
        "on_bad": "error",
        "on_leak": "drop",
    }
    assert wanted.items() <= report["settings"].items()
    versions = {"python": platform.python_version()}
    backend = importlib.import_module(keras.backend.backend())
    for module in (kerastl, keras, np, backend):
        versions[module.__name__] = module.__version__
    assert versions.items() <= report["settings"].items()
    assert report["class_names"] == list(CLASSES)
    assert report["data"].endswith("leaves")
    assert report["best"]["monitor"] == "val_accuracy"


def test_the_report_is_the_returned_one(run):
    result, output = run
    assert report_of(output) == json.loads(json.dumps(result.report, default=str))


def test_every_image_is_in_one_part(run):
    result, output = run
    counted = {part: row["images"] for part, row in report_of(output)["splits"].items()}
    assert counted == {part: len(getattr(result.splits, part)) for part in counted}
    assert counted == {"train": 18, "validation": 6, "test": 6}
    assert not set(result.splits.train.paths) & set(result.splits.test.paths)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_each_part_is_scored(run, part):
    result, output = run
    images = getattr(result.splits, part)
    right = kerastl.predict(result.model, images).indices == images.labels
    scores = report_of(output)[part]
    assert scores["accuracy"] == pytest.approx(right.mean())
    assert scores["images"] == 6
    assert f"{part} accuracy {right.mean():.1%}" in str(result)


def test_the_model_is_the_best_of_the_history(run):
    result, output = run
    best = result.history.best
    assert report_of(output)["validation"]["accuracy"] == pytest.approx(best.value)


def test_the_history_has_a_row_an_epoch(run):
    with (run[1] / "history.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("head", str(number)) for number in (1, 2, 3)
    ]
    made = run[0].history.history["val_loss"]
    np.testing.assert_allclose([float(row["val_loss"]) for row in rows], made)


def test_only_the_head_moved_in_a_linear_probe(run):
    phase = report_of(run[1])["phases"][0]
    assert (phase["name"], phase["moved"], phase["trainable"]) == ("head", 2, 2)


def test_seconds_add_up(run):
    seconds = report_of(run[1])["seconds"]
    parts = [value for name, value in seconds.items() if name != "total"]
    assert seconds["total"] == pytest.approx(sum(parts), abs=0.01)


def test_a_full_folder_is_not_overwritten_unasked(run, photos, monkeypatch):
    result, output = run
    # It is refused before anything is trained.
    monkeypatch.delattr("kerastl.workflow.fine_tune")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(ValueError, match="Pass overwrite=True"):
        kerastl.transfer(photos, **QUICK, output=output)
    with pytest.raises(ValueError, match="a new or empty folder"):
        result.write(output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_result_can_be_written_later_and_again(run, tmp_path):
    result, _ = run
    for overwrite in (False, True):
        result.write(tmp_path / "later" / "copy", overwrite=overwrite)
    written = (tmp_path / "later" / "copy").iterdir()
    assert sorted(path.name for path in written) == FILES


def test_a_file_is_no_folder_for_results(photos, tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ValueError, match="`output` must be a folder"):
        kerastl.transfer(photos, **QUICK, output=tmp_path / "taken")


def test_runs_of_one_seed_are_alike(run, photos):
    again = kerastl.transfer(photos, **QUICK, test=0.2, seed=1)
    first = run[0]
    assert again.splits.train.paths == first.splits.train.paths
    pairs = zip(again.model.get_weights(), first.model.get_weights(), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_auto_follows_measured_advice(photos):
    auto = {**QUICK, "recipe": "auto", "augment": "auto", "learning_rate": None}
    result = kerastl.transfer(photos, **auto, seed=1)
    used = result.report["settings"]
    advice = used["advice"]
    assert f"{len(result.splits.train)} training images" in advice["reasons"][0]
    assert (used["recipe"], used["augment"]) == (advice["recipe"], advice["augment"])
    assert used["learning_rate"] == advice["learning_rate"]
    # What was asked for wins over the advice.
    assert used["epochs"] == 3
    assert len(result.history.history["loss"]) == 3 * len(advice["epochs"])


def test_advice_is_followed_in_the_precision_asked_for(photos):
    auto = {**QUICK, "recipe": "auto", "epochs": 1, "precision": "mixed_bfloat16"}
    model = kerastl.transfer(photos, **auto, seed=1).model
    assert model.get_layer("conv1").compute_dtype == "bfloat16"


def test_another_seed_makes_other_parts(run, photos):
    other = kerastl.transfer(photos, **{**QUICK, "epochs": 1}, test=0.2, seed=2)
    assert other.splits.train.paths != run[0].splits.train.paths


def test_parts_and_a_network_of_ones_own_are_taken():
    images, labels = coloured(4)
    part = kerastl.ImageSet(images, labels, CLASSES, "own")
    other = kerastl.ImageSet(255 - images, labels, CLASSES, "other")
    result = kerastl.transfer(
        (part, other),
        backbone=small_network(),
        preprocessing="tf",
        recipe="linear_probe",
        epochs=1,
        verbose=0,
    )
    assert result.report["test"] is None
    assert result.report["data"] == "own"
    assert result.report["settings"]["backbone"] == "small"


class Stop:
    """Wraps a function: after some calls, Ctrl-C."""

    def __init__(self, function, calls):
        self.function, self.calls = function, calls

    def __call__(self, *arguments):
        self.calls -= 1
        self.function(*arguments)
        if self.calls <= 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_keeps_its_best_model(photos, tmp_path, monkeypatch):
    stop = Stop(BestWeights.update, 2)
    monkeypatch.setattr(BestWeights, "update", lambda *arguments: stop(*arguments))
    with pytest.raises(KeyboardInterrupt) as stopped:
        kerastl.transfer(photos, **QUICK, output=tmp_path / "run")
    assert stopped.value.__notes__ == [
        f"The best weights so far are in {tmp_path / 'run' / 'model.keras'}."
    ]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.keras"]
    model = kerastl.load_model(tmp_path / "run" / "model.keras")
    made = kerastl.predict(model, photos)
    truth = [path.replace("\\", "/").split("/")[-2] for path in made.paths]
    assert np.mean([a == b for a, b in zip(made.labels, truth, strict=True)]) > 0.5


def test_a_run_interrupted_while_scoring_keeps_its_model(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("kerastl.workflow.scored_set", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kerastl.transfer(photos, **QUICK, output=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.keras"]


def test_an_interrupted_run_leaves_no_word_on_an_earlier_one(
    run, photos, tmp_path, monkeypatch
):
    output = shutil.copytree(run[1], tmp_path / "run")
    stop = Stop(BestWeights.update, 1)
    monkeypatch.setattr(BestWeights, "update", lambda *arguments: stop(*arguments))
    with pytest.raises(KeyboardInterrupt):
        kerastl.transfer(photos, **QUICK, output=output, overwrite=True)
    assert [path.name for path in output.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("broken", ["plot_history", "save_model"])
def test_a_run_interrupted_while_writing_keeps_what_it_wrote(
    run, photos, tmp_path, monkeypatch, broken
):
    output = shutil.copytree(run[1], tmp_path / "run")
    real = getattr(artifacts, broken)

    def once(*arguments, **settings):
        monkeypatch.setattr(artifacts, broken, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(artifacts, broken, once)
    options = {**QUICK, "epochs": 1, "seed": 5}
    with pytest.raises(KeyboardInterrupt):
        kerastl.transfer(photos, **options, output=output, overwrite=True)
    written = {"plot_history": ["history.csv", "model.keras", "report.json"]}
    left = sorted(path.name for path in output.iterdir())
    assert left == written.get(broken, ["model.keras"])
    assert "report.json" not in left or report_of(output)["settings"]["seed"] == 5


def interrupt(*arguments, **settings):
    raise KeyboardInterrupt


def test_a_run_interrupted_at_once_leaves_nothing(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("kerastl.workflow.fine_tune", interrupt)
    with pytest.raises(KeyboardInterrupt) as stopped:
        kerastl.transfer(photos, **QUICK, output=tmp_path / "run")
    (note,) = stopped.value.__notes__
    assert note.startswith("Nothing had been learnt")
    assert not (tmp_path / "run").exists()


def one_sentence(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_damaged_file_is_named(tmp_path):
    place = write_images(tmp_path / "leaves", 3)
    (place / "ash" / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.jpg") as error:
        kerastl.transfer(place, **QUICK, output=tmp_path / "run")
    assert one_sentence(error)
    assert not (tmp_path / "run").exists()


def test_one_class_is_too_few(tmp_path):
    place = write_images(tmp_path / "leaves", 3)
    for name in ("beech", "cedar"):
        for path in (place / name).iterdir():
            path.unlink()
        (place / name).rmdir()
    with pytest.raises(ValueError, match=r"two class folders.*'ash'") as error:
        kerastl.transfer(place, **QUICK)
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        ("./nowhere", FileNotFoundError, "an existing folder.*nowhere"),
        ("nowhere", FileNotFoundError, "nowhere"),
        (7, TypeError, "`data` must be.*'int'"),
        (np.zeros((2, 8, 8, 3)), TypeError, "`data` must be.*Pass .images, labels"),
    ],
)
def test_data_that_are_none_are_refused(data, error, sentence):
    with pytest.raises(error, match=sentence):
        kerastl.transfer(data, **QUICK)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("seed", 2**63),
        ("recipe", "magic"),
        ("backbone", "MobilNet"),
        ("epochs", 0),
        ("epochs", [3, 0]),
        ("epochs", 2**64),
        ("learning_rate", 0.0),
        ("learning_rate", 1e300),
        ("learning_rate", float("nan")),
        ("patience", 0),
        ("views", 0),
        ("cache", "ram"),
        ("batch_size", 0),
        ("augment", "lite"),
        ("dropout", 1.0),
        ("class_weight", "balance"),
        ("class_weight", {"ash": -1.0}),
        ("label_smoothing", 1.0),
        ("validation", 1.5),
        ("test", -0.1),
        ("on_bad", "ignore"),
        ("on_leak", "ignore"),
        ("task", "guess"),
        ("alpha", -1.0),
        ("image_size", 8),
        ("weights", "mini"),
        ("resize", "squash"),
        ("precision", "float8"),
        ("strategy", "gpu"),
    ],
)
def test_an_argument_is_refused_before_the_first_file_is_read(
    photos, tmp_path, monkeypatch, name, value
):
    monkeypatch.delattr("kerastl.workflow.open_data")
    options = {**QUICK, name: value, "output": tmp_path / "run"}
    with pytest.raises(ValueError, match=f"^`{name}` must be ") as error:
        kerastl.transfer(photos, **options)
    assert one_sentence(error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"backbone": "MobilNet"}, "Did you mean 'MobileNet'"),
        ({"recipe": "scratch"}, "weights=None"),
    ],
)
def test_settings_that_do_not_fit_are_refused(photos, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        kerastl.transfer(photos, **{**QUICK, **settings})


def test_a_recipe_of_ones_own_is_reported_by_its_name():
    def my_recipe(model):
        return []

    assert artifacts._plain(my_recipe) == "my_recipe"
    assert artifacts._plain((1, 2)) == [1, 2]
