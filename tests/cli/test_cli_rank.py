"""`kerastl rank`: the table of the library, as text, JSON and a picture."""

import json

import pytest
from PIL import Image

CANDIDATES = ("MobileNet:alpha=0.25,weights=tiny", "MobileNet:alpha=0.25,weights=none")
OPTIONS = ("--image-size", "32", "--candidates", *CANDIDATES)


def test_the_table_is_that_of_the_library(command, image_folder):
    done = command("rank", image_folder, *OPTIONS)
    assert done.status == 0, done.err
    assert done.lines[0].split()[:3] == ["backbone", "linear", "probe"]
    assert all(any(name in line for line in done.lines[1:3]) for name in CANDIDATES)
    assert "12 images, 3 classes" in done.lines[-1]


def test_json_holds_the_rows_and_the_best(command, image_folder):
    done = command("rank", image_folder, *OPTIONS, "--json")
    record = json.loads(done.lines[-1])
    from kerastl.selection.ranking import rank_backbones

    table = rank_backbones(image_folder, CANDIDATES, image_size=32)
    assert record["best"] == table.best
    assert (record["images"], record["classes"]) == (12, 3)
    accuracies = {row["name"]: row["linear_probe"] for row in record["backbones"]}
    assert accuracies == {r.name: r.scores["linear_probe"] for r in table.rows}
    assert record["unavailable"] == {}


def test_options_reach_the_library(command, image_folder, monkeypatch):
    seen = {}

    def fake(data, *, progress, **options):
        seen.update(options, data=data)
        raise ValueError("`images` must be good. Received: images=6.")

    monkeypatch.setattr("kerastl.selection.ranking.rank_backbones", fake)
    done = command(
        *(
            "rank",
            image_folder,
            "--candidates",
            "A",
            "B",
            "--images",
            "6",
            "--seed",
            "3",
        ),
        *("--weights", "none", "--scores", "knn", "--resize", "pad"),
    )
    assert seen == {
        "data": str(image_folder),
        "candidates": ["A", "B"],
        "images": 6,
        "seed": 3,
        "weights": None,
        "scores": ["knn"],
        "resize": "pad",
    }
    assert done.status == 2


def test_the_plot_is_written(command, image_folder, tmp_path):
    file = tmp_path / "ranking.png"
    done = command("rank", image_folder, *OPTIONS, "--plot", file)
    assert done.status == 0, done.err
    assert "2 networks" in Image.open(file).text["Description"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--plot", "x.gif"), "ending in .png, .svg, .pdf"),
        (("--plot", "absent/x.png"), "Make the folder 'absent' first"),
        (("--candidates", "MobileNets"), "Did you mean 'MobileNet'"),
        (("--candidates", "VGG16:weights=tiny"), "Tiny weights are bundled for"),
        (("--scores", "leep"), "'nleep'"),
        (("--images", "3"), "at least 6"),
    ],
)
def test_bad_arguments_are_told_in_one_line(command, image_folder, more, words):
    done = command("rank", image_folder, *more)
    assert done.status in (1, 2)
    assert words in done.err
    assert (done.out, done.err.count("\n")) == ("", 1)


def test_a_picture_that_cannot_be_written_is_told_before_the_work(
    command, image_folder, monkeypatch
):
    monkeypatch.setattr("kerastl.selection.ranking.rank_backbones", None)
    assert command("rank", image_folder, "--plot", "x.gif").status == 2
