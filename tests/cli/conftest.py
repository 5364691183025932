"""The command in this process, with stand-ins for the work that it calls."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl.artifacts import output_folder
from kerastl.cli.program import main


@pytest.fixture
def command(capsys):
    """Run `kerastl` with arguments: its exit status, output and error output."""

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

    def fake(data, *, output, overwrite, **options):
        with output_folder(output, overwrite):
            pass
        print("a bar of Keras")
        calls.append((data, {"output": output, "overwrite": overwrite, **options}))
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


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """What `kerastl train` writes for three colours with a test part."""
    data, output = tmp_path_factory.mktemp("colours"), tmp_path_factory.mktemp("run")
    generator = np.random.default_rng(0)
    for number in range(36):
        label, part = number % 3, "test" if number < 6 else "train"
        pixels = generator.integers(0, 60, (8, 8, 3)).astype("uint8")
        pixels[..., label] += 150
        place = data / part / ("red", "green", "blue")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"photo{number}.png")
    # One that the classifier is bound to get wrong, whatever it learns.
    wrong = data / "test" / "blue" / "mislabelled.png"
    pixels = np.zeros((8, 8, 3), "uint8")
    pixels[..., 0] = generator.integers(180, 220, (8, 8))
    Image.fromarray(pixels).save(wrong)
    options = "--alpha 0.25 --image-size 32 --recipe linear_probe --epochs 20"
    assert main(["train", str(data), *options.split(), "--output", str(output)]) == 0
    return SimpleNamespace(data=data, output=output, model=output / "model.keras")
