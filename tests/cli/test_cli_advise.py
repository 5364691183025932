"""`kerastl advise`: the advice of the library, as text or JSON."""

import json

import pytest

OPTIONS = ("--alpha", "0.25", "--image-size", "32")


def test_the_advice_is_that_of_the_library(command, image_folder):
    from kerastl.selection.advice import advise

    done = command("advise", image_folder, *OPTIONS)
    assert done.status == 0, done.err
    expected = advise(image_folder, "MobileNet", alpha=0.25, image_size=32)
    assert done.out == f"{expected}\n"
    assert done.lines[0].startswith("data ")


def test_json_holds_the_advice_and_its_evidence(command, image_folder):
    record = json.loads(command("advise", image_folder, *OPTIONS, "--json").lines[-1])
    assert record["quadrant"].startswith("small and ")
    assert record["recipe"] == "linear_probe"
    assert record["evidence"]["images"] == 12
    assert len(record["reasons"]) >= 4


def test_options_reach_the_library(command, image_folder, stand_in):
    seen = []

    def fake(data, backbone, *, progress, **options):
        seen.append((data, backbone, options))
        raise ValueError("`images` must be good. Received: images=7.")

    stand_in("advise", fake)
    done = command(
        *("advise", image_folder, "--backbone", "VGG16", "--weights", "none"),
        *("--images", "7", "--seed", "3", "--resize", "crop"),
    )
    options = {"weights": None, "images": 7, "seed": 3, "resize": "crop"}
    assert seen == [(str(image_folder), "VGG16", options)]
    assert done.status == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--backbone", "MobileNets"), "MobileNet"),
        (("--images", "3"), "at least 6"),
        (("--image-size", "0"), "at least 1"),
        (("--cache", "disk"), "unrecognized arguments: --cache"),
        (("--weights", "tiny", "--backbone", "VGG16"), "bundled for"),
    ],
)
def test_bad_arguments_are_told_on_standard_error(command, image_folder, more, words):
    done = command("advise", image_folder, *more)
    assert done.status in (1, 2)
    assert words in done.err
    assert done.out == ""


def test_one_class_is_told_in_one_line(command, image_folder):
    import shutil

    for name in ("red", "green"):
        shutil.rmtree(image_folder / name)
    done = command("advise", image_folder, *OPTIONS)
    assert (done.status, done.err.count("\n")) == (1, 1)
