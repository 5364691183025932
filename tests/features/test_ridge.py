import numpy as np
import pytest
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from kerastl.features.probe import ALPHAS, linear_probe_score, loo_ridge

ALL = (1e-6, 0.01, 3.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # On a busy machine, threads that wait for each other take most of the time.
    with threadpool_limits(1):
        yield


def sample(n=60, d=20, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = 3 * generator.normal(size=(classes, d)) / np.sqrt(d)
    # Far from 0, so that a penalised intercept would show.
    return 5 + centres[labels] + 1.5 * generator.normal(size=(n, d)), labels


def refits(features, labels, penalty):
    """The outputs of one scikit-learn model an image, fitted to all the others."""
    targets = np.eye(labels.max() + 1)[labels]
    outputs = np.empty(targets.shape)
    for out in range(len(labels)):
        kept = np.arange(len(labels)) != out
        model = Ridge(alpha=penalty, solver="svd").fit(features[kept], targets[kept])
        outputs[out] = model.predict(features[[out]])[0]
    return outputs


@pytest.mark.parametrize("alpha", ALL)
@pytest.mark.parametrize("d", [20, 60, 120])
def test_decisions_are_those_of_60_refits(d, alpha):
    features, labels = sample(d=d)
    loo = loo_ridge(features, labels, alphas=[alpha])
    wanted = refits(features, labels, loo.penalties[0])
    np.testing.assert_allclose(loo.decisions, wanted, atol=1e-8)


def test_unequal_classes_and_dead_columns_agree_with_refits_too():
    features, labels = sample(d=30)
    features, labels = features[labels != 1][:33], labels[labels != 1][:33] // 2
    labels[:9] = 1
    features[:, 4:20] = 0.25
    loo = loo_ridge(features, labels, alphas=[0.03])
    wanted = refits(features, labels, loo.penalties[0])
    np.testing.assert_allclose(loo.decisions, wanted, atol=1e-8)


def test_every_accuracy_is_that_of_the_refits():
    features, labels = sample(d=120)
    loo = loo_ridge(features, labels, alphas=ALL)
    wanted = [
        (refits(features, labels, penalty).argmax(axis=1) == labels).mean()
        for penalty in loo.penalties
    ]
    np.testing.assert_allclose(loo.accuracies, wanted)
    assert len(set(wanted)) > 1


def test_a_strength_is_relative_to_the_mean_squared_singular_value():
    features, labels = sample(n=12, d=30)
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)[:11]
    loo = loo_ridge(features, labels, alphas=[0.5, 2.0])
    wanted = np.mean(values**2) * np.array([0.5, 2.0])
    np.testing.assert_allclose(loo.penalties, wanted)


def test_the_best_of_all_strengths_is_the_score():
    features, labels = sample(d=120)
    loo = loo_ridge(features, labels)
    np.testing.assert_array_equal(loo.alphas, ALPHAS)
    assert loo.accuracy == loo.accuracies.max() == linear_probe_score(features, labels)
    assert loo.accuracies.min() < loo.accuracy


def test_decisions_and_correct_belong_to_the_best_strength():
    features, labels = sample(d=120)
    loo = loo_ridge(features, labels)
    alone = loo_ridge(features, labels, alphas=[loo.best_alpha])
    np.testing.assert_allclose(loo.decisions, alone.decisions)
    np.testing.assert_array_equal(loo.correct, loo.decisions.argmax(axis=1) == labels)
    assert loo.correct.mean() == loo.accuracy


@pytest.mark.parametrize("alphas", [(0.01, 0.1, 1.0), (1.0, 0.1, 0.01)])
def test_the_strongest_of_equally_good_strengths_is_kept(alphas):
    loo = loo_ridge([[0.0], [1.0], [8.0], [9.0]], [0, 0, 1, 1], alphas=alphas)
    np.testing.assert_array_equal(loo.accuracies, 1.0)
    assert loo.best_alpha == 1.0


def test_the_standard_error_is_that_of_a_proportion():
    features, labels = sample(d=120)
    loo = loo_ridge(features, labels)
    wanted = loo.correct.std() / np.sqrt(len(labels))
    assert loo.standard_error == pytest.approx(wanted)
    assert loo.standard_error > 0


def test_columns_stand_for_the_labels_in_order():
    features, labels = sample()
    loo = loo_ridge(features, np.array([30, 10, 20])[labels])
    np.testing.assert_array_equal(loo.classes, [10, 20, 30])
    plain = loo_ridge(features, labels)
    np.testing.assert_allclose(loo.decisions, plain.decisions[:, [1, 2, 0]])


def test_an_image_never_sees_its_own_label():
    features, labels = sample(d=120)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 3
    before = loo_ridge(features, labels, alphas=[0.1]).decisions[7]
    after = loo_ridge(features, changed, alphas=[0.1]).decisions[7]
    np.testing.assert_allclose(after, before, atol=1e-10)


def test_twins_with_other_labels_are_all_wrong():
    features, labels = sample(n=30, d=100)
    twice = np.concatenate([features, features])
    other = np.concatenate([labels, (labels + 1) % 3])
    assert linear_probe_score(twice, other, alphas=[1e-6]) == 0.0


@pytest.mark.parametrize("alphas", [[], [0.0], [-1.0], [np.nan], [np.inf], [1e-9]])
def test_strengths_must_be_usable(alphas):
    with pytest.raises(ValueError, match="`alphas` must be one or more finite numbers"):
        loo_ridge(*sample(), alphas=alphas)
