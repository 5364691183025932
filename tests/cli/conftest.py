"""The command in this process, with stand-ins for the work that it calls."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import kerastl
from kerastl.cli.program import main


@pytest.fixture
def command(capsys, monkeypatch):
    """Run `kerastl` with arguments: its exit status, output and error output."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        streams = capsys.readouterr()
        return SimpleNamespace(
            status=status,
            out=streams.out,
            err=streams.err,
            lines=streams.out.splitlines(),
            json=lambda: json.loads(streams.out.splitlines()[-1]),
        )

    return run


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function in the place of a public one."""

    def replace(name, function):
        monkeypatch.setattr(kerastl, name, function, raising=False)

    return replace


@pytest.fixture
def transfer(stand_in):
    """A stand-in for `transfer`, and the calls that it got."""
    calls = []

    def fake(data, **options):
        print("a bar of Keras")
        calls.append((data, options))
        return SimpleNamespace(
            report={
                "validation": {"accuracy": 0.75},
                "test": None,
                "seconds": {"training": 2.0, "total": 3.25},
                "settings": {"recipe": "lp_ft", "dropout": float("nan")},
            }
        )

    stand_in("transfer", fake)
    return calls


@pytest.fixture
def classifier(stand_in):
    """Stand-ins for a saved classifier of three colours that sees red in all."""
    names = ("blue", "green", "red")

    def predict(model, inputs, *, batch_size=32, progress=None):
        progress(len(inputs), len(inputs))
        return SimpleNamespace(
            paths=tuple(inputs),
            labels=("red",) * len(inputs),
            probabilities=np.tile([0.125, 0.25, 0.625], (len(inputs), 1)),
            class_names=names,
        )

    stand_in("load_classifier", lambda path: f"model of {path}")
    stand_in("class_names", lambda model: names)
    stand_in("predict", predict)
    return names
