"""Average precision against COCO's own code, and suppression by its definition."""

import contextlib
import io
from dataclasses import astuple

import numpy as np
import pytest

from kerastl.evaluation.detection import (
    average_precision,
    non_maximum_suppression,
    overlaps,
)

NAMES = ("a", "b", "c")
KEYS = ("ap", "ap50", "ap75", "small", "medium", "large")


def draw(random, count, side=300):
    corners = random.uniform(0, side, (count, 2))
    sides = np.exp(random.uniform(np.log(8), np.log(150), (count, 2)))
    return np.concatenate([corners, corners + sides], axis=1)


@pytest.fixture(scope="module")
def scene():
    """Truth with a class that is rare, and detections near it, beside it and twice."""
    random = np.random.default_rng(3)
    truth, found = [], []
    for image in range(25):
        count = int(random.integers(0, 9))
        boxes, classes = draw(random, count), random.integers(0, 2, count)
        if image % 8 == 0 and count:
            classes[0] = 2
        index = np.repeat(np.arange(count), random.integers(0, 4, count))
        near, kinds = boxes[index], classes[index]
        near = near + random.normal(0, 6, near.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
        extra = draw(random, 5)
        every = np.concatenate([near, extra])
        kinds = np.concatenate([kinds, random.integers(0, 3, 5)])
        # Few different scores: ties must fall as in COCO's code.
        scores = random.integers(1, 40, len(every)) / 40
        truth.append((boxes, classes))
        found.append((every, kinds, scores))
    return truth, found


def coco_scores(truth, found, kinds):
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def sized(box):
        wide, tall = float(box[2] - box[0]), float(box[3] - box[1])
        return {"bbox": [float(box[0]), float(box[1]), wide, tall], "area": wide * tall}

    annotations = [
        {"image_id": i, "category_id": int(k), "iscrowd": 0, **sized(box)}
        for i, (boxes, classes) in enumerate(truth)
        for box, k in zip(boxes, classes, strict=True)
    ]
    for number, each in enumerate(annotations, 1):
        each["id"] = number
    data = {
        "images": [{"id": i} for i in range(len(truth))],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
    }
    results = [
        {"image_id": i, "category_id": int(k), "score": float(s), **sized(box)}
        for i, (boxes, classes, scores) in enumerate(found)
        for box, k, s in zip(boxes, classes, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        whole = coco.COCO()
        whole.dataset = data
        whole.createIndex()
        scored = evaluation.COCOeval(whole, whole.loadRes(results), "bbox")
        scored.params.catIds = list(kinds)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return dict(zip(KEYS, scored.stats[:6].tolist(), strict=True))


@pytest.mark.parametrize("kinds", [(0, 1, 2), (0,), (1,), (2,)])
def test_average_precision_is_cocos(scene, kinds):
    expected = coco_scores(*scene, kinds)
    result = average_precision(*scene, class_names=NAMES, resamples=0)
    row = result.overall if len(kinds) > 1 else result.per_class[kinds[0]]
    for key in KEYS:
        # COCO says -1 where there is no object.
        value = -1 if getattr(row, key) is None else getattr(row, key)
        assert value == pytest.approx(expected[key], abs=1e-6), key


def test_the_truth_scores_1_and_nothing_scores_0(scene):
    truth, _ = scene
    itself = [(boxes, classes, np.ones(len(boxes))) for boxes, classes in truth]
    scores = average_precision(truth, itself, class_names=NAMES, resamples=20)
    assert {getattr(scores.overall, key) for key in KEYS} == {1.0}
    assert scores.overall.ap_interval == (1.0, 1.0)
    nothing = [(np.zeros((0, 4)), [], []) for _ in truth]
    scores = average_precision(truth, nothing, class_names=NAMES, resamples=0)
    assert scores.overall.ap == scores.overall.ap50 == 0


def test_a_class_without_objects_is_left_out_of_the_mean():
    box = [[0.0, 0.0, 40.0, 40.0]]
    scores = average_precision(
        [(box, [0])], [(box, [0], [0.5])], class_names=NAMES, resamples=0
    )
    assert [row.ap for row in scores.per_class] == [1.0, None, None]
    assert scores.overall.ap == 1.0
    assert scores.overall.small is None


def test_intervals_are_those_of_images_not_of_boxes(scene):
    truth, found = scene
    once = average_precision(truth, found, class_names=NAMES)
    low, high = once.overall.ap50_interval
    assert 0 < low < once.overall.ap50 < high < 1
    assert astuple(once) == astuple(average_precision(truth, found, class_names=NAMES))


def test_overlaps_by_hand():
    first = np.array([[0.0, 0, 10, 10], [5, 5, 5, 9]])
    second = np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(overlaps(first, second), [[1 / 3, 0], [0, 0]])


@pytest.fixture(scope="module")
def crowd():
    random = np.random.default_rng(5)
    boxes = draw(random, 300, 100)
    return boxes, random.integers(1, 30, 300) / 30, random.integers(0, 3, 300)


def test_suppression_is_idempotent_and_no_kept_pair_overlaps(crowd):
    boxes, scores, classes = crowd
    kept = non_maximum_suppression(boxes, scores, classes, threshold=0.4, limit=300)
    assert 3 < len(kept) < 250
    again = non_maximum_suppression(
        boxes[kept], scores[kept], classes[kept], threshold=0.4, limit=300
    )
    assert again.tolist() == list(range(len(kept)))
    assert (np.diff(scores[kept]) <= 0).all()
    shared = overlaps(boxes[kept], boxes[kept])
    same = classes[kept][:, None] == classes[kept]
    assert shared[same & ~np.eye(len(kept), dtype=bool)].max() <= 0.4
    # Each that went overlaps with a surer one of its class that stayed.
    gone = np.setdiff1d(np.arange(300), kept)
    over = overlaps(boxes[gone], boxes[kept]) > 0.4
    over &= classes[gone][:, None] == classes[kept]
    over &= scores[kept] >= scores[gone][:, None]
    assert over.any(axis=1).all()


def test_suppression_does_not_depend_on_the_order(crowd):
    boxes, scores, classes = crowd
    first = non_maximum_suppression(boxes, scores, classes)
    order = np.random.default_rng(0).permutation(len(boxes))
    second = non_maximum_suppression(boxes[order], scores[order], classes[order])
    np.testing.assert_array_equal(boxes[first], boxes[order][second])
