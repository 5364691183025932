"""Exit statuses, streams and the one line that a failure prints."""

import shlex
import subprocess
import sys
import warnings

import pytest

import kerastl
from kerastl.cli.program import main


class Report(str):
    """A stand-in for what `audit` finds."""

    num_images = 1


def failing(error):
    def work(*_, **__):
        raise error

    return work


def test_version(command):
    done = command("--version")
    assert (done.status, done.out) == (0, f"kerastl {kerastl.__version__}\n")


COMMANDS = """
train predict evaluate calibrate features rank tune lr advise audit backbones cache
serve
"""


@pytest.mark.parametrize("name", COMMANDS.split())
def test_each_command_explains_itself(command, name):
    done = command(name, "--help")
    assert done.status == 0
    assert f"usage: kerastl {name}" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["predict", "model.keras"],
        ["evaluate", "model.keras"],
        ["train", "data", "--epochs", "0"],
        ["train", "data", "--epochs", "many"],
        ["train", "data", "--seed", "-1"],
        ["serve", "model.keras", "--port", "-1"],
        ["train", "data", "--image-size", "9.5"],
        ["train", "data", "--alpha", "wide"],
        ["train", "data", "--no-such-option"],
        ["audit", "data", "--jsonl"],
    ],
)
def test_arguments_that_cannot_be_parsed_are_status_2(command, arguments):
    done = command(*arguments)
    assert done.status == 2
    assert "usage: kerastl" in done.err
    assert not done.out


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("`folder` must be an existing folder. Received: folder='x'."),
        ValueError("`folder` must be a folder of at least two class folders."),
        ValueError("`data` must be a folder or a dataset's name."),
        OSError(28, "No space left on device"),
        RuntimeError("the device went away"),
        MemoryError(),
    ],
)
def test_work_that_fails_is_status_1_with_one_line(command, stand_in, error):
    stand_in("audit", failing(error))
    done = command("audit", "x")
    assert done.status == 1
    assert done.err.startswith("kerastl: error: ")
    assert done.err.count("\n") == 1
    assert not done.out


def test_the_line_is_the_sentence_of_the_library(command, stand_in):
    sentence = "`folder` must be an existing folder. Received: folder='x'."
    stand_in("audit", failing(FileNotFoundError(sentence)))
    assert command("audit", "x").err == f"kerastl: error: {sentence}\n"


def test_a_message_of_many_lines_becomes_one(command, stand_in):
    stand_in("audit", failing(ValueError("first\n  second\n")))
    assert command("audit", "x").err == "kerastl: error: first second\n"


def test_an_unforeseen_error_names_its_class_and_the_way_to_more(command, stand_in):
    stand_in("audit", failing(RuntimeError("no device")))
    expected = "kerastl: error: RuntimeError: no device (--debug shows the traceback)\n"
    assert command("audit", "x").err == expected


def test_the_way_out_is_in_the_words_of_the_command_line(command, stand_in):
    sentence = "`output` must be new. Pass overwrite=True to replace it."
    stand_in("transfer", failing(ValueError(sentence)))
    done = command("train", "data", "--output", "x")
    assert "Pass --overwrite to replace it." in done.err


def test_an_option_in_the_way_out_is_named_where_the_command_has_it(command, stand_in):
    sentence = (
        "`folder` must be whole. Received: folder='on_bad'. Pass on_bad=\"skip\"."
    )
    stand_in("transfer", failing(ValueError(sentence)))
    stand_in("audit", failing(ValueError(sentence)))
    assert command("train", "data").err.endswith(" Pass --on-bad skip.\n")
    assert command("audit", "data").err.endswith(' Pass on_bad="skip".\n')


@pytest.mark.parametrize("name", ["train", "rank", "features"])
def test_the_usage_names_the_data_before_options_of_several_values(command, name):
    assert f"usage: kerastl {name} DATA" in command(name).err


def test_debug_prints_the_traceback_and_keeps_the_status(command, stand_in):
    stand_in("audit", failing(RuntimeError("no device")))
    done = command("audit", "x", "--debug")
    assert done.status == 1
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1] == "kerastl: error: RuntimeError: no device"


@pytest.mark.parametrize(
    ("option", "value", "argument"),
    [
        ("--backbone", "MobileNat", "backbone"),
        ("--image-size", "16", "image_size"),
        ("--recipe", "magic", "recipe"),
        ("--learning-rate", "-1", "learning_rate"),
    ],
)
def test_a_refused_option_is_status_2(command, stand_in, option, value, argument):
    sentence = f"`{argument}` must be something else. Received: {argument}={value}."
    stand_in("transfer", failing(ValueError(sentence)))
    done = command("train", "data", option, value)
    assert done.status == 2
    assert done.err.endswith(f"kerastl: error: {sentence}\n")


@pytest.mark.parametrize(
    "words",
    [
        "train digits --strategy gpu",
        "train digits --output ''",
        "train digits --output '  '",
        "train digits --weights no.weights.h5",
        "calibrate model.keras digits --output no-such-folder/model.keras",
        "calibrate model.keras digits --output model.h5",
        "features digits --output ''",
        "lr digits --output '   '",
        "rank digits --plot ''",
        "cache list --folder ''",
        "cache clear --folder .",
        "cache clear --folder no-such-folder",
    ],
)
def test_what_is_wrong_in_the_line_is_named_as_it_was_written(
    command, tmp_path, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr("kerastl.workflow.open_data")
    (tmp_path / "precious.txt").touch()
    arguments = shlex.split(words)
    done = command(*arguments)
    assert done.status == 2
    assert done.err.startswith(f"kerastl: error: `{arguments[-2][2:]}` must be ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_a_sentence_on_an_option_that_was_not_given_is_status_1(command, stand_in):
    sentence = "`image_size` must be at least 75 for InceptionV3."
    stand_in("transfer", failing(ValueError(sentence)))
    assert command("train", "data").status == 1


def test_interruption_is_status_130(command, stand_in):
    stand_in("audit", failing(KeyboardInterrupt()))
    done = command("audit", "x")
    assert (done.status, done.out, done.err) == (130, "", "kerastl: interrupted\n")


def test_warnings_are_one_line_each(command, stand_in):
    def audit(folder, *, progress):
        warnings.warn("two copies\nof one file", UserWarning, stacklevel=2)
        return Report("fine")

    stand_in("audit", audit)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = command("audit", "x")
    assert done.err == "kerastl: warning: two copies of one file\n"
    assert done.out == "fine\n"


def test_what_the_library_prints_stays_off_standard_output(command, stand_in):
    def audit(folder, *, progress):
        print("a bar of Keras")
        return Report("fine")

    stand_in("audit", audit)
    done = command("audit", "x")
    assert (done.out, done.err) == ("fine\n", "a bar of Keras\n")


def test_a_closed_pipe_ends_quietly():
    script = (
        "import sys, kerastl\n"
        "from kerastl.cli.program import main\n"
        "class Report(str): num_images = 1\n"
        "kerastl.audit = lambda data, progress: Report(sys.stdin.readline())\n"
        "sys.exit(main(['audit', 'x']))"
    )
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", script], **streams) as process:
        process.stdout.close()
        process.stdin.write(b"a line\n")
        process.stdin.close()
        error = process.stderr.read()
    assert process.returncode == 141
    # TensorFlow writes there as well.
    assert b"BrokenPipe" not in error


def test_a_closed_output_is_refused_before_the_work(stand_in, monkeypatch):
    stand_in("audit", failing(AssertionError))
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["audit", "x"]) == 1


def test_the_package_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "kerastl.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"kerastl {kerastl.__version__}\n"
