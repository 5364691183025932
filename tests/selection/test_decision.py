"""The decision: every row of the table, every boundary, and what must be monotone."""

import itertools
import math
from dataclasses import replace

import pytest

from kerastl.selection.decision import (
    CHANCE_MARGIN,
    DIFFERENT_GAP,
    DIFFERENT_MARGIN,
    INPUT_SHIFT,
    NEAR_RATE,
    PROBE_RATE,
    SCRATCH_IMAGES,
    SMALL_DIFFERENT,
    SMALL_IMAGES,
    SMALL_SIMILAR,
    TABLE,
    Measurements,
    decide,
    decision_reasons,
)
from kerastl.training.recipes import RECIPES

CUTS = ("early", "middle", "late", "top")
NEAR = {"accuracies": (0.5, 0.6, 0.7, 0.8), "standard_errors": (0.01,) * 4}
FAR = {"accuracies": (0.5, 0.79, 0.8, 0.6), "standard_errors": (0.01, 0.02, 0.02, 0.02)}


def measured(images=5000, classes=5, **changes):
    options = {"chance": 1 / classes, "cuts": CUTS, "probed": min(images, 2000), **NEAR}
    return Measurements(images, classes, **{**options, **changes})


FEW = 5 * min(SMALL_SIMILAR, SMALL_DIFFERENT) - 5
ROWS = [
    (measured(FEW), "small and similar", "linear_probe", "head", PROBE_RATE, None),
    (measured(), "large and similar", "two_phase", "upper half", NEAR_RATE, None),
    (
        measured(input_shift=2.0),
        "large and similar, shifted input",
        "lp_ft",
        "all",
        NEAR_RATE,
        None,
    ),
    (
        measured(FEW, **FAR),
        "small and different",
        "linear_probe",
        "head",
        PROBE_RATE,
        "late",
    ),
    (measured(**FAR), "large and different", "lp_ft", "all", None, None),
    (
        measured(SCRATCH_IMAGES, random_accuracy=0.8, **FAR),
        "large and different, useless weights",
        "scratch",
        "all",
        None,
        None,
    ),
    (measured(pretrained=False), "random weights", "scratch", "all", None, None),
]


@pytest.mark.parametrize(
    ("numbers", "row", "recipe", "unfreeze", "rate", "cut"),
    ROWS,
    ids=[row[1] for row in ROWS],
)
def test_every_row_of_the_table(numbers, row, recipe, unfreeze, rate, cut):
    found = decide(numbers)
    assert found.row == row
    assert (found.recipe, found.unfreeze, found.cut) == (recipe, unfreeze, cut)
    assert found.learning_rate == rate
    assert found.augments == (unfreeze != "head")


def test_the_rows_above_are_the_whole_table():
    assert {row for _, row, *_ in ROWS} == set(TABLE)
    assert {recipe for recipe, *_ in TABLE.values()} <= set(RECIPES)


def test_quadrants_are_size_and_similarity():
    sizes, kinds = {"small": FEW, "large": 5000}, {"similar": NEAR, "different": FAR}
    for size, kind in itertools.product(sizes, kinds):
        found = decide(measured(sizes[size], **kinds[kind]))
        assert found.quadrant == f"{size} and {kind}"


@pytest.mark.parametrize(
    ("kind", "limit"), [(NEAR, SMALL_SIMILAR), (FAR, SMALL_DIFFERENT)]
)
def test_small_is_few_of_each_class(kind, limit):
    assert measured(5 * limit - 1, **kind).is_small
    assert not measured(5 * limit, **kind).is_small


@pytest.mark.parametrize(("images", "small"), [(-1, True), (0, False)])
@pytest.mark.parametrize("kind", [NEAR, FAR], ids=["near", "far"])
def test_small_is_few_in_all_where_there_are_many_classes(kind, images, small):
    # Two of each class.
    images += SMALL_IMAGES
    assert measured(images, SMALL_IMAGES // 2, **kind).is_small == small


def test_fewer_images_are_few_where_the_backbone_fits():
    between = 5 * (SMALL_SIMILAR + SMALL_DIFFERENT) // 2
    assert decide(measured(between)).quadrant == "large and similar"
    assert decide(measured(between, **FAR)).quadrant == "small and different"


def ahead(gap, error):
    """The cut before the top ahead by `gap`, the difference's error being `error`."""
    each = error / math.sqrt(2)
    return measured(
        accuracies=(0.1, 0.1, 0.5 + gap, 0.5), standard_errors=(0.5, 0.5, each, each)
    )


@pytest.mark.parametrize(
    ("gap", "error", "different"),
    [
        (0.1, 0.1 / (DIFFERENT_MARGIN + 0.01), True),
        (0.1, 0.1 / (DIFFERENT_MARGIN - 0.01), False),
        (DIFFERENT_GAP + 1e-6, 1e-4, True),
        (DIFFERENT_GAP - 1e-6, 1e-4, False),
        (-0.1, 1e-4, False),
    ],
)
def test_an_earlier_cut_must_win_by_enough_of_both(gap, error, different):
    numbers = ahead(gap, error)
    assert numbers.gap == pytest.approx(gap)
    assert numbers.margin == pytest.approx(gap / error)
    assert numbers.is_different == different


@pytest.mark.parametrize(
    ("top", "margin"), [(0.6, -math.inf), (0.4, math.inf), (0.5, 0.0)]
)
def test_probes_without_any_spread_are_told_apart_by_the_gap_alone(top, margin):
    numbers = measured(accuracies=(0.1, 0.2, 0.5, top), standard_errors=(0.0,) * 4)
    assert numbers.margin == margin
    assert numbers.is_different == (top == 0.4)


@pytest.mark.parametrize(("step", "different"), [(-1e-6, True), (1e-6, False)])
def test_a_top_that_tells_no_more_than_chance_is_different(step, different):
    top = 0.2 + CHANCE_MARGIN * math.sqrt(0.2 * 0.8 / 400) + step
    numbers = measured(
        probed=400, accuracies=(0.2, 0.2, 0.2, top), standard_errors=(0.05,) * 4
    )
    assert numbers.is_different == different


def test_where_no_cut_beats_the_top_nothing_is_cut():
    numbers = measured(FEW, accuracies=(0.1, 0.1, 0.15, 0.2))
    assert numbers.is_different
    assert decide(numbers).cut is None


@pytest.mark.parametrize(
    ("accuracies", "errors", "cut"),
    [
        ((0.5, 0.80, 0.79, 0.6), (0.01, 0.02, 0.01, 0.01), "late"),
        ((0.5, 0.80, 0.77, 0.6), (0.01, 0.02, 0.09, 0.01), "middle"),
        ((0.8, 0.80, 0.70, 0.6), (0.01, 0.02, 0.02, 0.01), "middle"),
        ((0.9, 0.80, 0.70, 0.6), (0.01, 0.02, 0.02, 0.01), "early"),
    ],
)
def test_the_cut_is_the_last_one_within_an_error_of_the_best(accuracies, errors, cut):
    numbers = measured(FEW, accuracies=accuracies, standard_errors=errors)
    assert decide(numbers).cut == cut


@pytest.mark.parametrize(
    ("shift", "row"),
    [
        (INPUT_SHIFT, "large and similar"),
        (INPUT_SHIFT + 1e-6, "large and similar, shifted input"),
    ],
)
def test_a_shift_of_the_input_begins_at_its_limit(shift, row):
    assert decide(measured(input_shift=shift)).row == row


def test_a_shift_of_the_input_changes_nothing_elsewhere():
    for numbers in (measured(FEW), measured(FEW, **FAR), measured(**FAR)):
        assert decide(replace(numbers, input_shift=9.0)) == decide(numbers)


@pytest.mark.parametrize(
    ("images", "random", "useless"),
    [
        (SCRATCH_IMAGES, 0.8, True),
        (SCRATCH_IMAGES, 0.79, False),
        (SCRATCH_IMAGES - 1, 0.9, False),
        (SCRATCH_IMAGES, None, False),
    ],
)
def test_weights_are_given_up_only_on_much_data_and_where_random_ones_do_as_well(
    images, random, useless
):
    numbers = measured(images, random_accuracy=random, **FAR)
    assert numbers.weights_are_useless == useless
    assert (decide(numbers).recipe == "scratch") == useless


def test_weights_that_fit_are_never_given_up():
    assert decide(measured(10**6, random_accuracy=1.0)).recipe != "scratch"


TRAINED = {"head": 0, "upper half": 1, "all": 2}


@pytest.mark.parametrize("kind", [NEAR, FAR], ids=["near", "far"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_more_images_never_train_less(kind, shift):
    sizes = [10, 20, 24, 25, 70, 74, 75, 1000, SCRATCH_IMAGES, 10**6]
    trained = [
        TRAINED[decide(measured(n, input_shift=shift, probed=10, **kind)).unfreeze]
        for n in sizes
    ]
    assert trained == sorted(trained)
    assert trained[0] < trained[-1]


@pytest.mark.parametrize("images", [FEW, 50, 5000])
def test_a_wider_margin_never_makes_data_similar_again(images):
    different = [
        decide(replace(ahead(gap / 100, 0.02), images=images)).quadrant.endswith(
            "different"
        )
        for gap in range(-10, 30)
    ]
    assert different == sorted(different)
    assert set(different) == {False, True}


def test_less_spread_never_makes_data_similar_again():
    different = [ahead(0.05, 0.1 / n).is_different for n in range(1, 20)]
    assert different == sorted(different)
    assert set(different) == {False, True}


def test_the_reasons_hold_the_numbers_that_decided():
    numbers = measured(SCRATCH_IMAGES, random_accuracy=0.8, input_shift=1.25, **FAR)
    text = " ".join(decision_reasons(numbers, decide(numbers)))
    for part in (
        "20,000 training images of 5 classes, 4000 a class",
        "60.0% +- 2.0% at the top",
        "80.0% +- 2.0% after late",
        "7.1 standard errors ahead",
        "1.2 deviations from ImageNet's, beyond",
        "80.0%, is no better than that of random weights, 80.0%",
        "random weights: those at hand are of no use",
    ):
        assert part in text


@pytest.mark.parametrize("numbers", [row[0] for row in ROWS], ids=list(TABLE))
def test_reasons_are_sentences_without_a_contradiction(numbers):
    decision = decide(numbers)
    reasons = decision_reasons(numbers, decision)
    assert all(reason.endswith(".") for reason in reasons)
    text = " ".join(reasons)
    assert ("few (few means" in text) == decision.quadrant.startswith("small")
    if numbers.pretrained:
        assert ("not ahead by" in text) == decision.quadrant.endswith("similar")
    assert (f"Cut the backbone after {decision.cut}." in text) == bool(decision.cut)


def test_a_useless_top_is_told_against_chance():
    numbers = measured(FEW, accuracies=(0.1, 0.1, 0.15, 0.2))
    text = " ".join(decision_reasons(numbers, decide(numbers)))
    assert "no better than naming the commonest class (20.0%)" in text
