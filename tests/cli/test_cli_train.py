"""`kerastl train`: options become arguments; the output folder is checked first."""

import json
import os
import shutil
import signal
import time
from types import SimpleNamespace

import pytest
from PIL import Image

from kerastl.artifacts import EndedError


def test_only_the_options_that_are_given_reach_transfer(
    command, transfer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert command("train", "digits").status == 0
    ((data, options),) = transfer
    assert data == "digits"
    assert set(options) == {"output", "overwrite"}
    assert options["overwrite"] is False


@pytest.mark.parametrize(
    ("given", "argument", "value"),
    [
        ("--backbone MobileNetV2", "backbone", "MobileNetV2"),
        ("--alpha 0.25", "alpha", 0.25),
        ("--weights imagenet", "weights", "imagenet"),
        ("--weights none", "weights", None),
        ("--weights my.weights.h5", "weights", "my.weights.h5"),
        ("--image-size 96", "image_size", 96),
        ("--recipe two_phase", "recipe", "two_phase"),
        ("--epochs 7", "epochs", 7),
        ("--epochs 5 3", "epochs", [5, 3]),
        ("--batch-size 16", "batch_size", 16),
        ("--learning-rate 1e-4", "learning_rate", 1e-4),
        ("--augment strong", "augment", "strong"),
        ("--augment none", "augment", None),
        ("--validation 0.1", "validation", 0.1),
        ("--test 0.25", "test", 0.25),
        ("--seed 3", "seed", 3),
        ("--overwrite", "overwrite", True),
    ],
)
def test_an_option_becomes_an_argument(
    command, transfer, tmp_path, given, argument, value
):
    command("train", "digits", "--output", tmp_path / "new", *given.split())
    ((_, options),) = transfer
    assert options[argument] == value
    assert type(options[argument]) is type(value)


def test_json_is_the_last_line_and_alone_on_standard_output(
    command, transfer, tmp_path
):
    done = command("train", "digits", "--json", "--output", tmp_path / "new")
    assert done.json() == {
        "validation_accuracy": 0.75,
        "test_accuracy": None,
        "seconds": 3.25,
        "output": str(tmp_path / "new"),
        "settings": {"recipe": "lp_ft", "dropout": None},
    }
    assert len(done.lines) == 1
    assert "a bar of Keras" in done.err


def test_without_json_the_summary_says_what_to_do_next(command, transfer, tmp_path):
    done = command("train", "digits", "--output", tmp_path / "new")
    assert "validation accuracy  75.0 %" in done.lines
    assert "test accuracy        -" in done.lines
    assert f"kerastl predict {tmp_path / 'new' / 'model.keras'}" in done.out


def test_bundled_weights_are_not_used_silently(command, transfer, tmp_path):
    silent = command("train", "digits", "--output", tmp_path / "a")
    chosen = command("train", "digits", "--output", tmp_path / "b", "--weights", "tiny")
    assert "--weights imagenet" in silent.err
    assert "--weights imagenet" not in chosen.err


def test_the_default_output_is_fresh_each_time(
    command, transfer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command("train", "digits")
    transfer[0][1]["output"].mkdir()
    command("train", "digits")
    first, second = (options["output"] for _, options in transfer)
    assert first != second
    assert first.name.startswith("kerastl-digits-2")


def test_the_default_output_is_named_after_the_folder_not_its_place(
    command, transfer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets" / "birds").mkdir(parents=True)
    command("train", "sets/birds/")
    output = transfer[0][1]["output"]
    assert output.parent.resolve() == tmp_path
    assert output.name.startswith("kerastl-birds-")


def test_the_default_output_is_named_after_the_table_not_its_place(
    command, transfer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people.csv").write_text("file,age")
    command("train", tmp_path / "people.csv")
    output = transfer[0][1]["output"]
    assert output.parent.resolve() == tmp_path
    assert output.name.startswith("kerastl-people.csv-")


def test_an_output_that_holds_files_is_refused_before_the_work(
    command, transfer, tmp_path
):
    (tmp_path / "model.keras").write_text("precious")
    done = command("train", "digits", "--output", tmp_path)
    assert done.status == 2
    assert "--overwrite" in done.err
    assert done.err.count("\n") == 1
    assert not transfer


def test_an_output_that_holds_files_is_taken_with_overwrite(
    command, transfer, tmp_path
):
    (tmp_path / "model.keras").write_text("old")
    assert command("train", "d", "--output", tmp_path, "--overwrite").status == 0


def test_an_empty_output_folder_is_taken(command, transfer, tmp_path):
    assert command("train", "digits", "--output", tmp_path).status == 0


def test_an_output_that_is_a_file_is_refused_even_with_overwrite(
    command, transfer, tmp_path
):
    file = tmp_path / "notes.txt"
    file.write_text("precious")
    done = command("train", "digits", "--output", file, "--overwrite")
    assert done.status == 2
    assert file.read_text() == "precious"


def test_an_interruption_says_where_the_model_is(command, stand_in):
    def transfer(data, *, output, overwrite):
        error = KeyboardInterrupt()
        error.add_note("The best weights so far are in there.")
        raise error

    stand_in("transfer", transfer)
    done = command("train", "digits")
    assert done.status == 130
    assert done.err.splitlines() == [
        "kerastl: The best weights so far are in there.",
        "kerastl: interrupted",
    ]


@pytest.mark.skipif(os.name == "nt", reason="it has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_run_as_ctrl_c_does(command, stand_in, tmp_path, name):
    number = getattr(signal, name)

    def transfer(data, *, output, overwrite):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except KeyboardInterrupt as error:
            # A second one does not disturb the saving.
            os.kill(os.getpid(), number)
            error.add_note("Kept.")
            raise

    stand_in("transfer", transfer)
    done = command("train", "digits")
    assert done.status == 128 + number
    assert done.err == "kerastl: Kept.\nkerastl: ended by a signal\n"
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.skipif(os.name == "nt", reason="it has no such signals")
def test_a_signal_that_is_ignored_stays_so(command, stand_in):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        def audit(data, *, progress):
            os.kill(os.getpid(), signal.SIGHUP)
            return SimpleNamespace(num_images=1)

        stand_in("audit", audit)
        assert command("audit", "x").status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_default_output_lies_outside_of_the_data(
    command, transfer, tmp_path, monkeypatch
):
    (tmp_path / "birds" / "owl").mkdir(parents=True)
    for here, data in (("birds", "."), ("birds/owl", ".."), (".", "birds")):
        monkeypatch.chdir(tmp_path / here)
        command("train", data)
        output = transfer.pop()[1]["output"]
        assert output.resolve().parent == tmp_path.resolve()


def test_the_json_line_survives_a_reader_that_knows_no_nan(command, transfer, tmp_path):
    done = command("train", "digits", "--json", "--output", tmp_path / "new")

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(done.lines[-1], parse_constant=refuse)


def test_a_run_leaves_its_files(trained):
    names = {path.name for path in trained.output.iterdir()}
    pictures = {"curves.png", "confusion.png", "examples.png"}
    assert names == {
        "model.keras",
        "report.json",
        "report.html",
        "history.csv",
        *pictures,
    }


def test_a_run_without_a_mistake_leaves_its_files_too(command, trained, tmp_path):
    data = tmp_path / "faultless"
    shutil.copytree(trained.data, data)
    (data / "test" / "blue" / "mislabelled.png").unlink()
    options = "--alpha 0.25 --image-size 32 --recipe linear_probe --epochs 20 --json"
    done = command("train", data, *options.split(), "--output", tmp_path / "new")
    assert done.status == 0, done.err
    assert done.json()["test_accuracy"] == 1
    assert (tmp_path / "new" / "examples.png").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--backbone", "MobilNet", "MobileNet"),
        ("--image-size", "8", "at least 32"),
        ("--recipe", "two_phases", "two_phase"),
        ("--augment", "lite", "light"),
        ("--validation", "1.5", "validation"),
    ],
)
def test_the_library_refuses_an_option_with_status_2(
    command, trained, tmp_path, option, value, words
):
    output = tmp_path / "new"
    done = command("train", trained.data, option, value, "--output", output)
    assert done.status == 2, done.err
    assert words in done.err.splitlines()[-1]
    assert not output.exists()


@pytest.mark.parametrize("data", ["absent/folder", "digit"])
def test_data_that_is_not_there_fails(command, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    done = command("train", data)
    assert done.status == 1
    assert data in done.err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def spoiled(change):
    """A name for a change of a good folder of images that makes it a bad one."""
    return pytest.param(change, id=change.__name__)


def empty(folder):
    for file in folder.rglob("*.png"):
        file.unlink()


def one_class(folder):
    for name in ("red", "blue"):
        for file in (folder / name).iterdir():
            file.unlink()
        (folder / name).rmdir()


def one_image_in_a_class(folder):
    for file in sorted((folder / "red").iterdir())[1:]:
        file.unlink()


def a_truncated_file_in_the_middle(folder):
    file = sorted(folder.rglob("*.png"))[5]
    file.write_bytes(file.read_bytes()[:60])


def a_text_file_named_jpg(folder):
    (folder / "red" / "notes.jpg").write_text("no picture")


@pytest.mark.parametrize(
    "change",
    [
        spoiled(empty),
        spoiled(one_class),
        spoiled(one_image_in_a_class),
        spoiled(a_truncated_file_in_the_middle),
        spoiled(a_text_file_named_jpg),
    ],
)
def test_bad_data_fail_in_one_sentence_and_leave_nothing(
    command, image_folder, tmp_path, change
):
    change(image_folder)
    output = tmp_path / "new"
    done = command("train", image_folder, "--weights", "tiny", "--output", output)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("kerastl: error: `")
    assert done.err.count("\n") == 1
    assert not output.exists()


def test_a_table_of_numbers_is_trained_scored_and_predicted(command, tmp_path):
    lines = ["file,age,who"]
    for age in range(20):
        image = Image.new("RGB", (16, 16), (10 * age, 10 * age, 10 * age))
        image.putpixel((0, 0), (255, 255, 255))
        image.save(tmp_path / f"{age}.png")
        lines.append(f"{age}.png,{age},x")
    table = tmp_path / "people.csv"
    table.write_text("\n".join(lines))
    columns = ("--images", "file", "--targets", "age")
    options = "--alpha 0.25 --image-size 32 --recipe linear_probe --epochs 2 --json"
    done = command("train", table, *columns, *options.split(), "-o", tmp_path / "new")
    assert done.status == 0, done.err
    model = tmp_path / "new" / "model.keras"
    found = done.json()
    assert found["validation_mae"] > 0
    assert found["test_r2"] is None
    done = command("evaluate", model, table, *columns, "--json")
    assert done.status == 0, done.err
    assert done.json()["per_target"][0]["name"] == "age"
    done = command("predict", model, tmp_path / "3.png")
    assert done.lines[0] == "path,age"
    assert 0 < float(done.lines[1].split(",")[1]) < 20
    done = command("calibrate", model, table)
    assert done.status == 1
    assert "must be a classifier" in done.err


def test_a_run_goes_on_in_its_own_folder(command, stand_in, tmp_path):
    calls = []

    def transfer(data, **options):
        calls.append(options)
        report = {"validation": None, "test": None, "settings": {}}
        return SimpleNamespace(report={**report, "seconds": {"total": 1.0}})

    stand_in("transfer", transfer)
    done = command("train", "digits", "--resume", tmp_path / "run")
    assert done.status == 0
    resume = str(tmp_path / "run")
    assert calls == [{"output": None, "overwrite": False, "resume": resume}]
    assert f"written to           {resume}" in done.lines


def test_a_run_that_has_ended_is_told_and_not_repeated(command, stand_in, tmp_path):
    report = {
        "validation": {"accuracy": 0.75},
        "test": None,
        "seconds": {"total": 3.0},
        "settings": {},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))

    def ended(data, **options):
        raise EndedError("The run in there has ended.")

    stand_in("transfer", ended)
    done = command("train", "digits", "--resume", tmp_path, "--json")
    assert done.status == 0
    assert "The run in there has ended." in done.err
    assert done.json()["validation_accuracy"] == 0.75
