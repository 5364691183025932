"""Maps between two domains' features, against their closed forms."""

import numpy as np
import pytest
from networks import CLASSES, pixels, small_classifier
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from kerastl.adaptation import CoralAlign, GaussianMap, StandardAlign
from kerastl.features.classical import classical_head, fold_pipeline, set_head

RNG = np.random.default_rng(0)
SOURCE = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5)) + RNG.normal(size=5)
TARGET = 3 * RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 5)) - 7
EXACT = [CoralAlign(reg=0.0), GaussianMap(reg=0.0)]
ALL = [*EXACT, CoralAlign(), GaussianMap(), StandardAlign()]


def name(aligner):
    return type(aligner).__name__


@pytest.mark.parametrize("aligner", EXACT, ids=name)
@pytest.mark.parametrize("direction", ["source", "target"])
def test_the_moments_become_the_other_domains(aligner, direction):
    aligner = clone(aligner).set_params(direction=direction).fit(SOURCE, TARGET)
    here, there = (SOURCE, TARGET) if direction == "source" else (TARGET, SOURCE)
    moved = aligner.transform(here)
    np.testing.assert_allclose(moved.mean(axis=0), there.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(there.T), atol=1e-10)


@pytest.mark.parametrize("aligner", ALL, ids=name)
def test_equal_domains_stay_where_they_are(aligner):
    moved = clone(aligner).fit(SOURCE, SOURCE).transform(SOURCE)
    np.testing.assert_allclose(moved, SOURCE, atol=1e-10)


def test_columns_alone_are_standardised_by_each_domain():
    moved = StandardAlign().fit(SOURCE, TARGET).transform(SOURCE)
    z = (SOURCE - SOURCE.mean(axis=0)) / SOURCE.std(axis=0)
    wanted = z * TARGET.std(axis=0, ddof=1) * np.sqrt(59 / 60) + TARGET.mean(axis=0)
    np.testing.assert_allclose(moved, wanted, atol=1e-10)


@pytest.mark.parametrize("reg", [0.0, 1.0])
def test_the_maps_are_their_formulas(reg):
    z = [(x - x.mean(axis=0)) / x.std(axis=0, ddof=1) for x in (SOURCE, TARGET)]
    one, other = (np.cov(each.T) + reg * np.eye(5) for each in z)
    root = np.real(sqrtm(one))
    back = np.linalg.inv(root)
    formulas = {
        CoralAlign: back @ np.real(sqrtm(other)),
        GaussianMap: back @ np.real(sqrtm(root @ other @ root)) @ back,
    }
    for kind, matrix in formulas.items():
        moved = kind(reg=reg).fit(SOURCE, TARGET).transform(SOURCE)
        spread = TARGET.std(axis=0, ddof=1)
        wanted = z[0] @ matrix * spread + TARGET.mean(axis=0)
        np.testing.assert_allclose(moved, wanted, atol=1e-8)


def test_the_map_of_least_cost_is_symmetric_and_positive():
    z = [(x - x.mean(axis=0)) / x.std(axis=0, ddof=1) for x in (SOURCE, TARGET)]
    matrix = GaussianMap(reg=0.0).fit(*z).matrix_
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
    assert np.linalg.eigvalsh(matrix).min() > 0
    # CORAL's takes the rows elsewhere, to the same covariance.
    other = CoralAlign(reg=0.0).fit(*z)
    cost = np.square(other.transform(z[0]) - z[0]).sum()
    assert np.square(z[0] @ matrix - z[0]).sum() < cost


def test_the_maps_agree_where_the_covariances_commute():
    # Standardised pairs of columns: all their covariances have the same eigenvectors.
    one, other = SOURCE[:, :2], TARGET[:, :2]
    moved = [
        kind(reg=0.5).fit(one, other).transform(one)
        for kind in (CoralAlign, GaussianMap)
    ]
    np.testing.assert_allclose(*moved, atol=1e-10)


def test_fewer_rows_than_columns_need_a_ridge():
    few = RNG.normal(size=(4, 6))
    with pytest.raises(ValueError, match="`reg` must be above 0 for these features"):
        CoralAlign(reg=0.0).fit(few, few)
    assert np.isfinite(CoralAlign().fit(few, 2 * few).transform(few)).all()


def test_a_constant_column_stays_a_column():
    flat = SOURCE.copy()
    flat[:, 2] = 4.0
    moved = CoralAlign().fit(flat, TARGET).transform(flat)
    np.testing.assert_allclose(moved[:, 2].mean(), TARGET[:, 2].mean())
    assert np.isfinite(moved).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((SOURCE, np.zeros(40)), "`y` must be features"),
        ((SOURCE, TARGET[:, :3]), "rows of 5 features, as the source"),
        ((SOURCE[:1], TARGET), "at least 2 rows"),
        ((SOURCE * np.nan, TARGET), "`X` must be finite"),
    ],
)
def test_what_cannot_be_aligned_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        CoralAlign().fit(*given)


def test_a_target_moved_to_the_source_folds_into_the_head():
    labels = (SOURCE[:, 0] > SOURCE[:, 0].mean()).astype(int)
    head = classical_head("ridge").fit(SOURCE, labels)
    align = GaussianMap(direction="target").fit(SOURCE, TARGET)
    whole = make_pipeline(align, *head)
    kernel, bias = fold_pipeline(whole)
    wanted = head.decision_function(align.transform(TARGET))
    np.testing.assert_allclose((TARGET @ kernel + bias)[:, 0], wanted, atol=1e-8)


def test_a_source_moved_to_the_target_is_no_part_of_a_model():
    head = classical_head("ridge").fit(SOURCE, np.arange(60) % 3)
    align = GaussianMap().fit(SOURCE, TARGET)
    with pytest.raises(ValueError, match="direction='target'"):
        fold_pipeline(make_pipeline(align, *head))


def test_the_model_is_the_pipeline():
    model = small_classifier()
    features = RNG.normal(size=(30, 4))
    head = classical_head("ridge").fit(features, np.arange(30) % len(CLASSES))
    align = StandardAlign(direction="target").fit(features, 2 * features + 1)
    set_head(model, make_pipeline(align, *head))
    kernel, _ = model.get_layer("head_dense").get_weights()
    plain = fold_pipeline(head)[0]
    np.testing.assert_allclose(kernel, plain / 2, rtol=1e-5)
    assert model.predict_on_batch(pixels(2)).shape == (2, 3)


def standardised(rows):
    """Each column of mean 0 and deviation 1."""
    return (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)


def test_the_map_of_least_cost_is_that_of_pot():
    gaussian = pytest.importorskip("ot.gaussian")
    # As many rows of both: POT divides covariances by n, here by n - 1.
    source, target = standardised(SOURCE[:40]), standardised(TARGET)
    matrix, shift = gaussian.empirical_bures_wasserstein_mapping(
        source, target, reg=1e-12
    )
    moved = GaussianMap(reg=0.0).fit(source, target).transform(source)
    np.testing.assert_allclose(moved, source @ matrix + shift, atol=1e-8)


def test_coral_is_that_of_skada():
    skada = pytest.importorskip("skada")
    source, target = standardised(SOURCE[:40]), standardised(TARGET)
    domains = np.repeat([1, -2], 40)
    theirs = skada.CORALAdapter(reg=0.0).fit_transform(
        np.concatenate([source, target]), sample_domain=domains
    )
    moved = CoralAlign(reg=0.0).fit(source, target).transform(source)
    np.testing.assert_allclose(moved, theirs[:40], atol=1e-8)
