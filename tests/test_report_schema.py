"""The schema of report.json: what runs of each task write fits, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from networks import CLASSES, coloured, pixels, small_network

import kerastl
from kerastl import artifacts
from kerastl.data.boxes import Boxes
from kerastl.data.masks import Masks
from kerastl.tasks import score_tags
from kerastl.tasks.language import LanguageReport

SCHEMA = json.loads(Path(kerastl.__file__).with_name("report.schema.json").read_text())
#: Random boxes have no anchors that fit.
pytestmark = pytest.mark.filterwarnings("ignore:Too few objects:UserWarning")
QUICK = {"recipe": "linear_probe", "epochs": 1, "augment": None, "verbose": 0}
SMALL = {"preprocessing": "tf", "best_size": False, "validation": 0.3}


def faults(report):
    """Where a report differs from the schema, as paths and messages."""
    found = Draft202012Validator(SCHEMA).iter_errors(report)
    return [(error.json_path, error.message) for error in found]


def strict(text):
    """JSON that has neither nan nor infinity, as every reader takes it."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def written(data, **options):
    """What a run of `transfer` writes."""
    given = {**QUICK, **SMALL, "backbone": small_network(), **options}
    return strict(artifacts._report_text(kerastl.transfer(data, **given).report))


def multiclass():
    images, labels = coloured(8)
    return written(kerastl.ImageSet(images, labels, CLASSES), test=0.25, best_size=True)


def binary():
    data = kerastl.ImageSet(pixels(20), np.arange(20) % 2, ("no", "yes"))
    return written(data, task="binary")


def multilabel():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (24, 3))
    return written(kerastl.ImageSet(pixels(24), rows, CLASSES))


def regression():
    numbers = np.random.default_rng(0).normal(size=(20, 2))
    return written(kerastl.ImageSet(pixels(20), numbers, target_names=("age", "size")))


def segmentation():
    masks = np.random.default_rng(0).integers(0, 3, (12, 16, 16))
    return written(kerastl.ImageSet(pixels(12), Masks(masks, ("bare", "a", "b"))))


def detection():
    rng = np.random.default_rng(0)
    corners = rng.integers(2, 20, (12, 1, 2))
    boxes = np.concatenate(
        [corners, corners + rng.integers(8, 24, (12, 1, 2))], axis=-1
    )
    asked = Boxes(boxes, np.arange(12)[:, None] % 2, ("mug", "pen"), (64, 64))
    options = {"backbone": "MobileNet", "alpha": 0.25, "image_size": (64, 64)}
    options |= {"preprocessing": None, "epochs": 1}
    return written(kerastl.ImageSet(pixels(12, 64), asked), **options)


RUNS = [multiclass, binary, multilabel, regression, segmentation, detection]


@pytest.fixture(scope="module")
def reports():
    return {}


@pytest.fixture(params=RUNS, ids=lambda run: run.__name__)
def report(request, reports):
    """What a run of a task wrote, once for the module."""
    name = request.param.__name__
    if name not in reports:
        reports[name] = request.param()
    assert reports[name]["validation"]["task"] == name
    return reports[name]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_a_report_fits(report):
    assert faults(report) == []


def parts(value, path=()):
    """Each mapping in a report, with the way to it."""
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, (dict, list)):
            yield from parts(each, (*path, key))


#: Mappings whose names are the user's, or those of what was measured.
OPEN = {"settings", "headline", "classes", "metrics", "seconds", "clean"}
OPEN |= {"anchor_recall"}


def test_a_name_too_few_or_too_many_does_not_fit(report):
    """Also where it is deep inside: no part of the schema lets everything pass."""
    tried = 0
    for path, _ in parts(report):
        if path and path[-1] in OPEN:
            continue
        copy = json.loads(json.dumps(report))
        part = copy
        for key in path:
            part = part[key]
        # Without its name a task may be one of one's own, whose fields nobody knows.
        for name in set(part) - {"task"}:
            value = part.pop(name)
            assert faults(copy), (path, name)
            part[name] = value
        part["more"] = 1
        assert faults(copy), path
        tried += 1
    assert tried > 6


def test_a_number_that_is_none_does_not_fit(report):
    for value in ("0.5", [0.5], True):
        for part in ("validation", "splits"):
            copy = json.loads(json.dumps(report))
            copy[part]["images" if part == "validation" else "train"] = value
            assert faults(copy), (part, value)
    copy = json.loads(json.dumps(report))
    copy["phases"][0]["moved"] = -1
    assert faults(copy)


@pytest.mark.parametrize(
    "scores",
    [
        score_tags([["B-a", "O"], ["B-b", "O"]], [["B-a", "O"], ["O", "O"]]),
        score_tags([["NOUN", "VERB"]], [["NOUN", "NOUN"]]),
        LanguageReport(3, 20, 1.5, 0.25),
    ],
)
def test_scores_of_texts_fit_where_those_of_images_stand(scores):
    whole = {
        "data": "texts",
        "headline": {"f1": "share", "perplexity": "number"},
        "class_names": [],
        "splits": {"train": {"images": 2, "classes": {}}, "validation": None}
        | {"test": None},
        "settings": dict.fromkeys(SCHEMA["properties"]["settings"]["required"], "x"),
        "phases": [],
        "best": None,
        "seconds": {"total": 1.0},
        "image_sizes": None,
        "validation": strict(json.dumps(scores.to_dict())),
        "test": None,
    }
    assert faults(whole) == []
    for name in list(whole["validation"]):
        if name != "task":
            short = {n: v for n, v in whole["validation"].items() if n != name}
            assert faults({**whole, "validation": short}), name


def test_scores_of_a_task_of_ones_own_have_fields_of_their_own(reports):
    report = reports.get("regression") or regression()
    own = {"task": "quantiles", "shares": {"0.5": 0.25}}
    assert faults({**report, "validation": own}) == []
    assert faults({**report, "validation": "none"})


def test_what_is_no_number_is_null():
    text = artifacts._report_text(
        {"best": {"value": float("nan")}, "a": [float("inf")]}
    )
    assert strict(text) == {"best": {"value": None}, "a": [None]}
