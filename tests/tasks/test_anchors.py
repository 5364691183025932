"""Anchors: what fits, what matches, and boxes there and back."""

import numpy as np
import pytest

from kerastl import Boxes
from kerastl.evaluation.detection import overlaps
from kerastl.tasks.anchors import (
    Anchors,
    as_targets,
    decode_boxes,
    encode_boxes,
    fit_anchors,
    levels_of,
    match_anchors,
    plain_anchors,
)

SIZE = (96, 128)


def draw(random, count, low=8, high=60):
    sides = np.exp(random.uniform(np.log(low), np.log(high), (count, 2)))
    corners = random.uniform(0, 1, (count, 2)) * (np.array(SIZE[::-1]) - sides)
    return np.concatenate([corners, corners + sides], axis=1)


@pytest.fixture(scope="module")
def anchors():
    return plain_anchors(SIZE)


def test_anchors_lie_around_the_cells():
    one = Anchors((32, 64), (4, 5), (((16.0, 8.0), (4.0, 4.0)), ((32.0, 32.0),)))
    assert one.grids == ((2, 4), (1, 2))
    assert len(one) == 2 * 4 * 2 + 2
    # Second row, third column, first shape.
    np.testing.assert_array_equal(one.boxes[12], [40 - 8, 24 - 4, 40 + 8, 24 + 4])
    np.testing.assert_array_equal(one.boxes[-1], [32, 0, 64, 32])
    assert one.strides_of.tolist() == [16] * 16 + [32] * 2
    assert Anchors.from_config(one.to_config()) == one


def test_each_box_comes_back_from_its_code(anchors):
    random = np.random.default_rng(0)
    boxes = draw(random, 400)
    own = anchors.boxes[random.integers(0, len(anchors), 400)]
    back = decode_boxes(encode_boxes(boxes, own).astype(np.float32), own)
    np.testing.assert_allclose(back, boxes, atol=1e-4)
    np.testing.assert_allclose(encode_boxes(own, own), 0, atol=1e-12)


def test_a_wild_output_is_no_infinite_box(anchors):
    wild = decode_boxes(np.full((1, 4), 1e6), anchors.boxes[:1])
    sides = wild[:, 2:] - wild[:, :2]
    own = anchors.boxes[:1, 2:] - anchors.boxes[:1, :2]
    np.testing.assert_allclose(sides / own, 62.5)


def test_every_box_keeps_an_anchor_of_its_own(anchors):
    random = np.random.default_rng(1)
    # Of no anchor's size, and two that want the same.
    boxes = np.concatenate([draw(random, 20, 2, 6), draw(random, 20, 70, 90)])
    boxes = np.concatenate([boxes, boxes[:1] + 0.1])
    found = match_anchors(boxes, anchors.boxes)
    assert set(range(len(boxes))) <= set(found.tolist())


def test_matches_follow_the_overlap(anchors):
    boxes = draw(np.random.default_rng(2), 12)
    found = match_anchors(boxes, anchors.boxes)
    best = overlaps(boxes, anchors.boxes).max(axis=0)
    kept = {int(overlaps(box[None], anchors.boxes).argmax()) for box in boxes}
    others = np.setdiff1d(np.arange(len(anchors)), sorted(kept))
    others = others[(found[others] < 0) | (best[others] >= 0.5)]
    assert ((found[others] >= 0) == (best[others] >= 0.5)).all()
    assert ((found[others] == -1) == (best[others] < 0.4)).all()
    assert (found == -2).any()


def test_targets_hold_deltas_classes_and_weights(anchors):
    boxes = draw(np.random.default_rng(3), 6)
    classes = np.array([2, 0, 1, 2, 0, 1])
    found = match_anchors(boxes, anchors.boxes)
    rows = as_targets(boxes, classes, found, anchors.boxes)
    assert rows.dtype == np.float32
    assert rows.shape == (len(anchors), 6)
    mine = found >= 0
    np.testing.assert_array_equal(rows[:, 5], found != -2)
    np.testing.assert_array_equal(rows[~mine, 4], -1)
    np.testing.assert_array_equal(rows[mine, 4], classes[found[mine]])
    back = decode_boxes(rows[mine, :4], anchors.boxes[mine])
    np.testing.assert_allclose(back, boxes[found[mine]], atol=1e-4)


def test_an_image_without_objects_is_all_background(anchors):
    found = match_anchors(np.zeros((0, 4)), anchors.boxes)
    rows = as_targets(np.zeros((0, 4)), np.zeros(0), found, anchors.boxes)
    assert (rows[:, 4] == -1).all()
    assert (rows[:, 5] == 1).all()


def cells(sides, count=30, seed=0):
    """Squares of one size a class, at random places."""
    random = np.random.default_rng(seed)
    boxes, classes = [], []
    for _ in range(count):
        kinds = np.arange(len(sides))
        side = np.array(sides, float)[:, None]
        corners = random.uniform(0, 1, (len(sides), 2)) * (np.array((320, 240)) - side)
        boxes.append(np.concatenate([corners, corners + side], axis=1))
        classes.append(kinds)
    return Boxes(boxes, classes, [f"{side} px" for side in sides], (240, 320))


def test_recall_says_which_objects_no_anchor_fits():
    data = cells((19, 52, 95))
    # Four strides from level 3 on, as RetinaNet has them: 32 pixels are the smallest.
    scales = [4 * 2 ** (k / 3) for k in range(3)]
    four = plain_anchors((240, 320), levels=(3, 4, 5, 6, 7), sizes=scales)
    # At most 19² of 32² pixels are shared: below one half.
    assert four.recall(data)["19 px"] == 0.0
    assert four.recall(data)["52 px"] == 1.0
    two = plain_anchors((240, 320))
    assert min(two.recall(data).values()) > 0.9
    fitted = fit_anchors(data, image_size=(240, 320))
    assert min(fitted.recall(data).values()) > 0.9


def test_fitted_shapes_are_those_of_the_data():
    data = cells((20, 40, 90), count=10)
    fitted = fit_anchors(data, image_size=(240, 320), per_cell=1)
    np.testing.assert_allclose(fitted.shapes, [[(s, s)] for s in (20, 40, 90)])
    # At half the size all halve; the smallest has no level below.
    half = fit_anchors(data, image_size=(120, 160), per_cell=1)
    np.testing.assert_allclose(half.shapes[1], [(45, 45)])
    np.testing.assert_allclose(half.shapes[2], [(64, 64)])


def test_a_rare_class_gets_shapes_too():
    many = [[i, i, i + 40 + i, i + 40] for i in range(20)]
    boxes = [many, [[0, 0, 62, 62]]]
    data = Boxes(boxes, [[0] * 20, [1]], ("many", "rare"), (240, 320))
    fitted = fit_anchors(data, image_size=(240, 320), per_cell=2)
    assert fitted.recall(data, threshold=0.6)["rare"] == 1.0


def test_levels_are_those_of_the_size():
    squares = np.array([[0, 0, s, s] for s in (1, 15, 16, 31.9, 32, 63, 64, 500)])
    assert levels_of(squares, (3, 4, 5)).tolist() == [3, 3, 3, 3, 4, 4, 5, 5]


def test_wrong_anchors_are_one_sentence():
    with pytest.raises(ValueError, match="ascending numbers without a gap"):
        plain_anchors(64, levels=(3, 5))
    with pytest.raises(ValueError, match="above 0"):
        Anchors((64, 64), (3,), (((0.0, 4.0),),))
    with pytest.raises(ValueError, match="at least one box"):
        fit_anchors(Boxes([[]], [[]], ("a",), (64, 64)), image_size=64)
    with pytest.raises(ValueError, match="images with boxes"):
        fit_anchors("folder", image_size=64)
