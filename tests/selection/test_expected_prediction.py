import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from kerastl.selection.transferability import leep, nleep


def posteriors(n=50, source=7, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet([0.3] * source, n), generator.integers(0, 3, n)


def slow_leep(rows, labels):
    n, source = rows.shape
    total = 0.0
    for row, label in zip(rows, labels, strict=True):
        expected = 0.0
        for z in range(source):
            joint = sum(rows[i, z] for i in range(n) if labels[i] == label) / n
            expected += joint / (rows[:, z].sum() / n) * row[z]
        total += np.log(expected)
    return total / n


def test_leep_is_the_formula_term_by_term():
    rows, labels = posteriors()
    assert leep(rows, labels) == pytest.approx(slow_leep(rows, labels))


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_uniform_rows_and_balanced_classes_give_minus_ln_c(classes):
    rows = np.full((40, 9), 1 / 9)
    assert leep(rows, np.arange(40) % classes) == pytest.approx(-np.log(classes))


def test_one_hot_rows_that_name_the_class_give_0():
    labels = np.arange(30) % 3
    assert leep(np.eye(5)[labels + 1], labels) == 0.0


def test_two_source_classes_for_one_label_still_give_0():
    source = np.arange(40) % 4
    assert leep(np.eye(4)[source], source // 2) == 0.0


def test_the_order_of_source_classes_does_not_count():
    rows, labels = posteriors()
    order = np.random.default_rng(1).permutation(7)
    assert leep(rows[:, order], labels) == pytest.approx(leep(rows, labels))


def test_source_classes_without_mass_do_not_count():
    rows, labels = posteriors()
    wider = np.hstack([rows, np.zeros((50, 90))])
    assert leep(wider, labels) == pytest.approx(leep(rows, labels))


@pytest.mark.parametrize("seed", range(5))
def test_leep_lies_between_the_entropy_of_the_labels_and_0(seed):
    rows, labels = posteriors(seed=seed)
    shares = np.bincount(labels) / len(labels)
    assert (shares * np.log(shares)).sum() <= leep(rows, labels) <= 0


def clusters(n=120, d=8, classes=3, apart=1.0):
    generator = np.random.default_rng(0)
    labels = np.arange(n) % classes
    centres = apart * generator.normal(size=(classes, d))
    return centres[labels] + generator.normal(size=(n, d)), labels


def test_nleep_is_leep_of_the_mixture_of_the_components():
    features, labels = clusters()
    scores = PCA(0.8, svd_solver="full").fit_transform(features)
    scores /= np.sqrt(scores.var(axis=0).mean())
    mixture = GaussianMixture(15, covariance_type="diag", random_state=3).fit(scores)
    wanted = leep(mixture.predict_proba(scores), labels)
    assert nleep(features, labels, seed=3) == pytest.approx(wanted, abs=1e-6)


def test_classes_far_apart_give_0():
    assert nleep(*clusters(apart=50)) == pytest.approx(0, abs=1e-9)


def test_nleep_is_at_most_0():
    assert nleep(*clusters()) < 0


def test_the_seed_decides_the_clusters():
    features, labels = clusters()
    assert nleep(features, labels, seed=1) == nleep(features, labels, seed=1)
    assert nleep(features, labels, seed=1) != nleep(features, labels, seed=2)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_scale_and_shift_do_not_count(factor):
    features, labels = clusters()
    changed = nleep(factor * features + 5 * factor, labels)
    assert changed == pytest.approx(nleep(features, labels), abs=1e-6)


def test_few_images_get_few_clusters():
    features, labels = clusters(n=30)
    # 30 images hold 6 clusters of 5, not 15.
    assert nleep(features, labels) == nleep(features, labels, components=2)


@pytest.mark.parametrize(
    ("option", "value"),
    [("energy", 0.0), ("energy", 1.1), ("components", 0), ("seed", -1)],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=f"`{option}` must be"):
        nleep(*clusters(n=30), **{option: value})
