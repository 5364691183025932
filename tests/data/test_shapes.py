"""Drawn shapes: seeded, balanced, with factors that are true."""

import numpy as np
import pytest

from kerastl.data.shapes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    STYLES,
    TEXTURES,
    make_shapes,
)


def test_a_longer_set_begins_with_the_shorter_one():
    short, few = make_shapes(5, image_size=24)
    long, many = make_shapes(13, image_size=24)
    np.testing.assert_array_equal(long.images[:5], short.images)
    np.testing.assert_array_equal(long.labels[:5], short.labels)
    np.testing.assert_array_equal(many.boxes[:5], few.boxes)


def test_another_seed_draws_other_pictures():
    one, other = (make_shapes(6, image_size=24, seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(one.images, other.images)


def test_classes_are_balanced():
    drawn, _ = make_shapes(20, image_size=16)
    assert set(drawn.counts().values()) <= {3, 4}


def test_labels_name_the_shapes():
    drawn, factors = make_shapes(12, image_size=16)
    named = np.array(drawn.class_names)[drawn.labels]
    np.testing.assert_array_equal(named, factors.shapes)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_enclose_the_masks_tightly(shape):
    _, factors = make_shapes(4, image_size=32, classes=(shape,))
    for box, mask in zip(factors.boxes, factors.masks, strict=True):
        left, top, right, bottom = box
        rows, columns = np.nonzero(mask)
        extremes = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert [left, top, right, bottom] == extremes


def test_masks_lie_within_the_radius_of_the_centre():
    _, factors = make_shapes(30, image_size=48)
    rows, columns = np.mgrid[:48, :48] + 0.5
    for mask, (x, y), radius in zip(
        factors.masks, factors.centres, factors.radii, strict=True
    ):
        reach = np.hypot(columns - x, rows - y)[mask].max()
        assert reach <= radius + 1.5


def test_a_circles_mask_has_the_circles_area():
    _, factors = make_shapes(20, image_size=96, classes=("circle",))
    side, radii = 96, factors.radii[:, None]
    inside = np.all(
        (factors.centres > radii) & (factors.centres < side - radii), axis=1
    )
    areas = factors.masks.sum(axis=(1, 2))[inside]
    assert inside.any()
    np.testing.assert_allclose(areas, np.pi * factors.radii[inside] ** 2, rtol=0.05)


def test_colour_does_not_tell_the_class():
    _, factors = make_shapes(1200, image_size=16)
    table = np.array(
        [
            [np.sum((factors.shapes == s) & (factors.colours == c)) for c in COLOURS]
            for s in np.unique(factors.shapes)
        ]
    )
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    # The 99.9 % point of chi squared with (6 - 1) * (8 - 1) = 35 degrees of freedom.
    assert statistic < 66.6


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("style", STYLES),
        ("background", BACKGROUNDS),
        ("texture", TEXTURES),
        ("colour", tuple(COLOURS)),
    ],
)
def test_each_factor_can_be_fixed_or_left_open(name, choices):
    fixed = {"style": None, name: choices[-1]}
    field = f"{name}s"
    _, one = make_shapes(8, image_size=16, **fixed)
    assert set(getattr(one, field)) == {choices[-1]}
    _, any_of_them = make_shapes(150, image_size=16, **{"style": None, name: None})
    assert set(getattr(any_of_them, field)) == set(choices)


def test_fixing_a_factor_leaves_the_others():
    _, free = make_shapes(10, image_size=16)
    _, red = make_shapes(10, image_size=16, colour="red", style="night")
    np.testing.assert_array_equal(free.masks, red.masks)
    np.testing.assert_array_equal(free.backgrounds, red.backgrounds)


def test_styles_shift_the_domain():
    means = {
        style: make_shapes(12, image_size=24, style=style)[0].images.mean()
        for style in STYLES
    }
    assert means["night"] < 0.5 * means["photo"]
    sketch, _ = make_shapes(2, image_size=24, style="sketch")
    assert np.all(np.ptp(sketch.images.astype(int), axis=-1) == 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_images": 0}, "at least 1"),
        ({"image_size": 8}, "at least 16"),
        ({"seed": -1}, "at least 0"),
        ({"classes": ("circel",)}, "Did you mean 'circle'"),
        ({"classes": ()}, "different names"),
        ({"classes": ("star", "star")}, "different names"),
        ({"style": "oil"}, "`style` must be one of"),
        ({"background": "sea"}, "`background` must be one of"),
        ({"clutter": -1}, "at least 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_shapes(**{"num_images": 2, **arguments})


def test_progress_ends_at_the_total():
    seen = []
    make_shapes(51, image_size=16, progress=lambda *done: seen.append(done))
    assert seen == [(50, 51), (51, 51)]


def test_several_shapes_have_boxes_and_masks():
    images, factors = make_shapes(12, image_size=64, objects=(0, 5), seed=3)
    assert images.labels is factors.boxes
    counts = [len(boxes) for boxes in factors.boxes.boxes]
    assert min(counts) == 0
    assert max(counts) > 2
    for i, boxes in enumerate(factors.boxes.boxes):
        rest = factors.masks[i].copy()
        for box, kind in zip(boxes.astype(int), factors.boxes.classes[i], strict=True):
            left, top, right, bottom = box
            inside = factors.masks[i][top:bottom, left:right] == kind + 1
            # Tight: each side of the box touches the shape.
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
            rest[top:bottom, left:right][inside] = 0
        # There is nothing beside the boxes.
        assert not rest.any()


def test_a_longer_set_of_several_shapes_begins_with_the_shorter():
    short, _ = make_shapes(3, image_size=48, objects=3)
    long, _ = make_shapes(5, image_size=48, objects=3)
    np.testing.assert_array_equal(long.images[:3], short.images)
    for a, b in zip(short.labels.boxes, long.labels.boxes, strict=False):
        np.testing.assert_array_equal(a, b)
    assert all(len(boxes) >= 1 for boxes in long.labels.boxes)


@pytest.mark.parametrize("style", STYLES)
def test_several_shapes_come_in_each_style(style):
    images, _ = make_shapes(2, image_size=48, objects=(2, 4), style=style)
    assert images.images.std() > 5


@pytest.mark.parametrize("objects", [0, (3, 2), (1, 2, 3), -1])
def test_wrong_numbers_of_shapes_are_refused(objects):
    with pytest.raises(ValueError, match="objects"):
        make_shapes(2, objects=objects)
