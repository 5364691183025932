"""What is left of old features: probes, intervals, neighbours."""

import numpy as np
import pytest
from networks import coloured, outputs, pixels, small_classifier, values
from sklearn.neighbors import NearestNeighbors

from kerastl.comparison.drift import (
    _neighbour_agreement,
    forgetting_report,
    linear_cka,
)
from kerastl.data.sets import ImageSet
from kerastl.evaluation.metrics import wilson_interval
from kerastl.features.network import below_head
from kerastl.features.probe import loo_ridge


def features(model, images):
    return outputs(below_head(model), images).astype("float64").mean(axis=(1, 2))


def spoilt(model, share=1.0):
    """Weights before; afterwards the last block knows less."""
    before = values(model)
    conv = model.get_layer("conv3")
    generator = np.random.default_rng(0)
    conv.kernel.assign_add(share * generator.normal(size=conv.kernel.shape))
    return before


def test_a_model_that_did_not_move_forgot_nothing():
    model = small_classifier()
    report = forgetting_report(values(model), model, coloured(8))
    assert report.forgotten == 0.0
    assert report.comparison.p_value == 1.0
    assert report.neighbour_agreement == 1.0
    assert report.cka == pytest.approx(1.0)
    assert report.images == 24


def test_accuracies_are_those_of_probes_on_the_averaged_features():
    model, (images, labels) = small_classifier(), coloured(10)
    before = features(model, images)
    weights = spoilt(model)
    report = forgetting_report(weights, model, (images, labels), confidence=0.9)
    one, two = (loo_ridge(x, labels) for x in (before, features(model, images)))
    assert report.accuracy_before == pytest.approx(one.accuracy)
    assert report.accuracy_after == pytest.approx(two.accuracy)
    limits = wilson_interval(int(one.correct.sum()), 30, confidence=0.9)
    assert report.interval_before == limits
    limits = wilson_interval(int(two.correct.sum()), 30, confidence=0.9)
    assert report.interval_after == limits
    assert report.comparison.only_a == int((one.correct & ~two.correct).sum())
    assert report.comparison.only_b == int((two.correct & ~one.correct).sum())
    assert report.comparison.confidence == 0.9
    cka = linear_cka(before, features(model, images))
    assert report.cka == pytest.approx(cka, rel=1e-4)


def test_what_is_forgotten_is_positive_and_the_difference_negative():
    model, (images, labels) = small_classifier(), coloured(10)
    before = values(model)
    norm = model.get_layer("bn3")
    # The channel of most weight alone is left.
    norm.gamma.assign([1.0, 0.0, 0.0, 0.0])
    report = forgetting_report(before, model, (images, labels))
    assert report.forgotten > 0
    assert report.comparison.difference == pytest.approx(-report.forgotten)


def test_label_numbers_and_their_gaps_do_not_matter():
    model, (images, labels) = small_classifier(), coloured(6)
    before = spoilt(model)
    plain = forgetting_report(before, model, (images, labels))
    assert forgetting_report(before, model, (images, 5 * labels + 3)) == plain


def test_an_image_set_and_a_pair_say_the_same():
    model, (images, labels) = small_classifier(), coloured(6)
    before = spoilt(model)
    images_set = ImageSet(images, labels, ("x", "y", "z"))
    one = forgetting_report(before, model, images_set)
    assert one == forgetting_report(before, model, (images, labels))


def test_classes_without_images_do_not_matter():
    model, (images, labels) = small_classifier(), coloured(6)
    before = spoilt(model)
    gaps = ImageSet(images, labels + 1 + (labels > 0), ("none", "x", "no", "y", "z"))
    plain = forgetting_report(before, model, (images, labels))
    assert forgetting_report(before, model, gaps) == plain


def test_a_sample_is_drawn_from_many_images():
    model, data = small_classifier(), coloured(20)
    before = values(model)
    assert forgetting_report(before, model, data, images=30).images == 30


def test_copies_are_left_out():
    model, (images, labels) = small_classifier(), coloured(6)
    twice = np.concatenate([images, images]), np.concatenate([labels, labels])
    assert forgetting_report(values(model), model, twice).images == 18


@pytest.mark.parametrize("neighbours", [1, 5, 19])
def test_neighbours_are_those_of_scikit_learn(neighbours):
    generator = np.random.default_rng(0)
    one = generator.normal(size=(20, 4))
    two = one + 0.5 * generator.normal(size=(20, 4))
    found = [
        NearestNeighbors(n_neighbors=neighbours, metric="cosine")
        .fit(x)
        .kneighbors(return_distance=False)
        for x in (one, two)
    ]
    wanted = np.mean(
        [len(set(a) & set(b)) / neighbours for a, b in zip(*found, strict=True)]
    )
    assert _neighbour_agreement(one, two, neighbours) == pytest.approx(wanted)


def test_unrelated_features_agree_as_chance_does():
    generator = np.random.default_rng(0)
    one, two = generator.normal(size=(2, 400, 16))
    assert _neighbour_agreement(one, two, 40) == pytest.approx(40 / 399, abs=0.01)
    model = small_classifier()
    report = forgetting_report(values(model), model, coloured(7), neighbours=4)
    assert report.chance_agreement == 4 / 20


def test_it_prints_in_four_lines():
    model = small_classifier()
    lines = str(forgetting_report(spoilt(model), model, coloured(8))).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("probe on the features before")
    assert "points (95 % interval" in lines[2]
    assert "24 images" in lines[3]


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        (coloured(4), {"neighbours": 12}, ValueError, "at most 11"),
        (coloured(4), {"neighbours": 0}, ValueError, "at least 1"),
        (coloured(4), {"confidence": 1.0}, ValueError, "below 1"),
        ((pixels(4), np.zeros(4, int)), {}, ValueError, "at least two classes"),
        ((pixels(4), np.eye(4)), {}, ValueError, "integer labels"),
        (ImageSet(pixels(4), None, ()), {}, ValueError, "one label each"),
        ((pixels(3), np.arange(3)), {}, ValueError, "at least 2 different images"),
    ],
)
def test_bad_arguments_are_named(source, options, error, words):
    model = small_classifier()
    with pytest.raises(error, match=words):
        forgetting_report(values(model), model, source, **options)


def test_another_structure_is_refused():
    with pytest.raises(ValueError, match="of the structure of `after`"):
        forgetting_report([np.zeros(3)], small_classifier(), coloured())


def test_a_data_set_is_read_by_its_name():
    model = small_classifier()
    assert forgetting_report(values(model), model, "digits", images=40).images == 40
