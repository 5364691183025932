"""What a person sees of TensorFlow's log: nothing that they could do without."""

import os
import subprocess
import sys

import pytest

import kerastl
from kerastl.cli import program
from kerastl.cli.program import held_back, load_library


def run(*command):
    """Python with arguments, as somebody runs it who has set no level of the log."""
    settings = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, *command],
        env=settings,
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_command_says_its_own_line_and_nothing_else():
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("-m", "kerastl.cli", "evaluate", "no-such-model.keras", "no-such-data")
    assert failed.value.returncode == 1
    assert failed.value.stderr.startswith("kerastl: error: ")
    assert failed.value.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("KERAS_BACKEND", "bogus"), ("KERAS_BACKEND", "torch"), ("MPLBACKEND", "bogus")],
)
def test_a_setting_that_stops_the_import_is_named_in_one_line(
    monkeypatch, capfd, name, value
):
    words = {"MPLBACKEND": "Key backend: 'bogus' is not a valid value"}
    error = ImportError(words.get(name, f"No module named {value!r}"))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv(name, value)

    def stop():
        os.write(2, b"noise\n")
        raise error

    monkeypatch.setattr(kerastl, "register_saved_classes", stop)
    with pytest.raises(ValueError, match=f"variable {name}={value} cannot be used"):
        load_library()
    assert not capfd.readouterr().err


def test_what_was_held_back_is_shown_when_the_import_fails(capfd):
    with pytest.raises(ImportError), held_back():
        os.write(2, b"a library is missing\n")
        raise ImportError
    assert capfd.readouterr().err == "a library is missing\n"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("`backbone` must be built by keras-hub. Install it.", ""),
        ("No module named 'own'", "ImportError: "),
    ],
)
def test_what_must_be_installed_is_said_without_the_class(message, line):
    assert program.one_line(ImportError(message)) == line + message


def test_what_comes_after_the_import_is_shown(capfd):
    with held_back():
        os.write(2, b"noise\n")
    os.write(2, b"news\n")
    assert capfd.readouterr().err == "news\n"


@pytest.mark.parametrize("noisy", [False, True])
def test_known_noise_of_older_versions_stays_off_the_screen(monkeypatch, capfd, noisy):
    monkeypatch.setattr(program, "_is_noisy", lambda: noisy)
    noise = b"W0000 op_level_cost_estimator.cc:699] Error in PredictCost()\n"
    with program.without_noise():
        os.write(2, b"E0000 news\n" + noise)
        print("python", file=sys.stderr)
    os.write(2, b"after\n")
    lines = capfd.readouterr().err.splitlines()
    assert {"E0000 news", "python"} <= set(lines)
    assert lines[-1] == "after"
    assert any("PredictCost" in line for line in lines) is not noisy


TRAINS = """
import kerastl, numpy as np
backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights=None, image_size=32)
model = kerastl.build_classifier(backbone, ["a", "b"])
images = np.zeros((10, 32, 32, 3), np.uint8), np.arange(10) % 2
options = dict(recipe="full", epochs=2, batch_size=4, augment="light", verbose=0)
kerastl.fine_tune(model, images, **options)
"""


def test_training_with_augmentation_writes_no_warnings_of_tensorflows_costs():
    assert "PredictCost" not in run("-c", TRAINS).stderr


def test_a_level_that_somebody_set_is_kept():
    line = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '0'; import kerastl;"
    done = run("-c", line + "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])")
    assert done.stdout == "0\n"


HEAVY = {"tensorflow", "keras", "jax", "torch", "sklearn", "rich", "numpy"}


@pytest.mark.parametrize("arguments", ["--help", "train --help", "--version"])
def test_help_imports_nothing_heavy(arguments):
    done = run("-X", "importtime", "-m", "kerastl.cli", *arguments.split())
    lines = [
        line for line in done.stderr.splitlines() if line.startswith("import time")
    ]
    imported = {line.split("|")[2].strip() for line in lines}
    assert "kerastl.cli.commands" in imported
    assert not {name.split(".")[0] for name in imported} & HEAVY


def test_the_installed_script_is_as_light(tmp_path):
    script = tmp_path / "kerastl"
    script.write_text(
        "import atexit, sys\n"
        "atexit.register(lambda: print('keras' in sys.modules))\n"
        "from kerastl.cli.program import main\n"
        "sys.exit(main())"
    )
    assert run(script, "--version").stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands_and_options(shell):
    script = run("-m", "kerastl.cli", "--print-completion", shell).stdout
    for word in ("backbones", "--older-than", "--recipe", "--json"):
        assert word in script


def test_bash_reads_the_completion(tmp_path):
    script = run("-m", "kerastl.cli", "--print-completion", "bash").stdout
    asked = (
        f"{script}\nCOMP_WORDS=(kerastl tr) COMP_CWORD=1\n"
        "_shtab_kerastl 2>/dev/null; echo ${COMPREPLY[*]}"
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["train"]


def test_an_audit_that_finds_no_image_has_failed(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    assert program.main(["audit", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "`data` must be a folder with images." in said.err
