"""The Python of the how-to pages runs, page by page, on small data that fit it."""

import contextlib
import importlib.util
import io
import re
import shlex
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier
from PIL import Image
from text_sets import LABELS, NAMES, TEXTS

import kerastl
from kerastl.cli.program import build_parser
from kerastl.tasks.detection import DetectionTask
from kerastl.tasks.segmentation import SegmentationTask
from kerastl.tasks.task import Task
from kerastl.training import recipes

ROOT = Path(__file__).parents[1]
#: Pages whose code needs what a test has not, with why; of the others all blocks run.
LEFT_OUT = {
    "colab": "its lines are those of a notebook",
    "other_detectors": "a piece of examples/, which tests/test_examples.py runs",
}
#: Blocks that need a service or a network to download, by a word in them.
LEFT_OUT_BLOCKS = ("wandb", "entities()", "tasks.generate")


#: Packages that are no part of the tests, and what in a line needs them.
OPTIONAL = {"pandas": ".to_frame(", "tensorboard": "TensorBoard(", "jsonschema": "json"}


def blocks(page):
    """The Python of a page, in order, without lines that need what is not installed."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.S)
    for package, word in OPTIONAL.items():
        if importlib.util.find_spec(package) is None:
            found = [re.sub(rf"(?m)^.*{re.escape(word)}.*$", "", b) for b in found]
    return [b for b in found if not any(word in b for word in LEFT_OUT_BLOCKS)]


PAGES = [
    path.stem
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path.stem not in LEFT_OUT and blocks(path.stem)
]


def write(images, labels, names, folder):
    """Images in folders of their classes."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")


def write_photos(folder):
    write(*coloured(8, 32), CLASSES, folder / "photos")
    shutil.copy(folder / "photos" / CLASSES[0] / "0.png", folder / "photo.png")
    Image.open(folder / "photo.png").save(folder / "photo.jpg")


def write_shapes(folder, each=10):
    for place in (ROOT / "data" / "shapes").iterdir():
        if place.is_dir():
            (folder / "data/shapes" / place.name).mkdir(parents=True)
            for path in sorted(place.iterdir())[:each]:
                shutil.copy(path, folder / "data/shapes" / place.name)


def write_scenes(folder):
    shutil.copytree(ROOT / "data/blood_cells", folder / "data/blood_cells")
    scenes, factors = kerastl.make_shapes(12, objects=3, image_size=32, seed=1)
    for kind in ("images", "masks"):
        (folder / "streets" / kind).mkdir(parents=True)
    for number, image in enumerate(scenes.images):
        Image.fromarray(image).save(folder / f"streets/images/{number}.png")
        mask = Image.fromarray(factors.masks[number].astype("uint8"))
        mask.save(folder / f"streets/masks/{number}.png")


def write_table(folder):
    write_photos(folder)
    lines = ["file,species,age"]
    for path in sorted((folder / "photos").rglob("*.png")):
        lines.append(f"{path.relative_to(folder)},{path.parent.name},{len(lines)}")
    (folder / "trees.csv").write_text("\n".join(lines))


def write_reviews(folder):
    pytest.importorskip("keras_hub")
    rows = [f"{text},{NAMES[label]}" for text, label in zip(TEXTS, LABELS, strict=True)]
    (folder / "reviews.csv").write_text("\n".join(["review,sentiment", *rows]))


def write_model(folder):
    pytest.importorskip("starlette")
    kerastl.save_model(small_classifier(), folder / "model.keras")


def write_run(folder):
    write_shapes(folder)
    kerastl.transfer("data/shapes", output="run", test=0.2, recipe="linear_probe")


#: What lies in the folder in which a page's code runs.
FILES = {
    "devices": write_shapes,
    "evaluation": write_run,
    "evidence": write_photos,
    "features": lambda folder: write_shapes(folder, each=30),
    "folder": lambda folder: (write_shapes(folder), write_photos(folder)),
    "keras_model": write_shapes,
    "masks_and_boxes": lambda folder: (write_scenes(folder), write_photos(folder)),
    "resuming": write_photos,
    "serving": write_model,
    "start": write_shapes,
    "table": write_table,
    "texts": write_reviews,
    "tracking": write_run,
}


def given(page):
    """Names that a page takes for granted, each as its sentences say."""
    train, validation, test = (
        kerastl.ImageSet(*coloured(8, 16, seed), CLASSES, f"colours {seed}")
        for seed in (0, 1, 2)
    )
    if page == "features":
        train = kerastl.load_images("data/shapes").train
    names = {"kerastl": kerastl, "train": train, "validation": validation, "test": test}
    if page == "pytorch":
        return network_of_torch()
    if page == "keras_model":
        labels = np.arange(8) % 2
        return {"images": np.zeros((8, 96, 96, 3), "float32"), "labels": labels}
    if page == "keras_hub":
        pytest.importorskip("keras_hub")
        images, labels = coloured(4, 32)
        names["train"] = names["validation"] = images, labels % 2
    if page == "adaptation":
        names["target"] = validation.images  # it must look as before
        names |= {name: small_classifier(learnt=True) for name in ("before", "adapted")}
        names["trained"] = small_classifier(learnt=True)
    return names | {"model": small_classifier(learnt=True)}


def network_of_torch():
    if keras.backend.backend() != "torch":
        pytest.skip("PyTorch must be imported before TensorFlow")
    import torch

    nn = torch.nn
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
    backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    batch = torch.rand(6, 3, 8, 8), torch.arange(6) % 2
    return {"backbone": backbone, "features": 4, "classes": 2, "batches": [batch]}


def of_two_classes():
    parts = [
        kerastl.ImageSet(coloured(8, 16, seed)[0], np.arange(24) % 2, CLASSES[:2])
        for seed in (1, 2)
    ]
    model = small_classifier(CLASSES[:2], task="binary", learnt=True)
    return {"model": model, "validation": parts[0], "test": parts[1]}


@pytest.fixture
def short(monkeypatch):
    """Recipes of one epoch a phase."""
    for task in (Task, DetectionTask, SegmentationTask):
        monkeypatch.setattr(task, "head_epochs", 1)
    for name, number in (("FINE_EPOCHS", 1), ("MINIMUM_STEPS", 1)):
        monkeypatch.setattr(recipes, name, number)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_the_page_runs(page, short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FILES.get(page, lambda folder: None)(tmp_path)
    names = given(page)
    for block in blocks(page):
        if "choose_threshold" in block:
            names |= of_two_classes()
        block = block.replace("(240, 320)", "(96, 128)")  # a fifth of the work
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, f"docs/{page}.md", "exec"), names)
    if page == "pytorch":
        trained = ("0.0.", "0.1.weight", "0.1.bias", "1.")
        assert names["first_moved"] == []
        assert {name.startswith(trained) for name in names["second_moved"]} == {True}
        assert len(names["second_moved"]) == 6


def commands():
    """Each line of README and the pages that calls `kerastl`, with where it stands."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text("utf-8")
        for block in re.findall(r"```(?:bash|console)\n(.*?)```", text, re.S):
            joined = block.replace("\\\n", " ")
            for each in re.findall(r"(?:^|[\s/])kerastl (\w[^\n&|]*)", joined):
                yield pytest.param(each, id=f"{path.stem}: {each[:40]}")


@pytest.mark.parametrize("line", list(commands()))
def test_each_command_of_a_page_is_one(line):
    words = shlex.split(line, comments=True)
    arguments = build_parser().parse_args(words)
    assert arguments.command == words[0]
