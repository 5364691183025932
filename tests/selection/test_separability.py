import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from kerastl.selection.transferability import gbc, h_score


def sample(n=60, d=12, classes=3, apart=0.7, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = apart * generator.normal(size=(classes, d))
    noise = generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) / np.sqrt(d)
    return 2 + centres[labels] + noise, labels


def between(features, labels):
    """Covariance of the class means, each image counted."""
    means = np.array([features[labels == y].mean(axis=0) for y in labels])
    return np.cov(means.T, bias=True)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (30, 80)])
def test_the_published_h_score_is_the_trace_with_ledoit_and_wolfs_covariance(n, d):
    features, labels = sample(n, d)
    covariance, share = ledoit_wolf(features)
    wanted = np.trace(np.linalg.inv(covariance) @ between(features, labels))
    found = h_score(features, labels, chance="kept")
    assert found == pytest.approx((1 - share) * wanted)


def test_without_shrinkage_it_is_the_plain_trace():
    features, labels = sample()
    plain = np.linalg.inv(np.cov(features.T, bias=True)) @ between(features, labels)
    found = h_score(features, labels, shrinkage=0, chance="kept")
    assert found == pytest.approx(np.trace(plain))


@pytest.mark.parametrize("chance", ["kept", "removed"])
@pytest.mark.parametrize("classes", [2, 5])
def test_one_hot_features_score_c_minus_1(classes, chance):
    labels = np.arange(60) % classes
    found = h_score(np.eye(classes)[labels], labels, shrinkage=0, chance=chance)
    assert found == pytest.approx(classes - 1)


@pytest.mark.parametrize("shrinkage", [0, 0.3, None])
def test_what_is_removed_is_the_mean_over_the_orders_of_the_labels(shrinkage):
    features, labels = sample(n=20, d=7)
    generator = np.random.default_rng(1)
    orders = [generator.permutation(labels) for _ in range(3000)]
    kept = [
        h_score(features, y, shrinkage=shrinkage, chance="kept") for y in orders[:300]
    ]
    removed = [h_score(features, y, shrinkage=shrinkage) for y in orders]
    # Four standard errors of the mean.
    assert abs(np.mean(removed)) < 4 * np.std(removed) / np.sqrt(3000)
    assert np.mean(kept) > 10 * abs(np.mean(removed))


def test_plain_random_features_score_d_over_n_and_0_once_chance_is_removed():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(3000, 64)), np.arange(3000) % 5
    kept = h_score(features, labels, shrinkage=0, chance="kept")
    # A chi-square of 64 * 4 degrees of freedom, over n.
    assert abs(kept - 4 * 64 / 3000) < 4 * np.sqrt(2 * 64 * 4) / 3000
    assert abs(h_score(features, labels, shrinkage=0)) < 4 * np.sqrt(2 * 64 * 4) / 3000


def test_random_features_outnumbering_images_score_low():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(100, 1280)), np.arange(100) % 10
    plain = h_score(features, labels, shrinkage=0, chance="kept")
    assert plain == pytest.approx(9)
    assert h_score(features, labels) < 0.5


def test_many_blind_directions_beat_a_few_informed_ones_until_chance_is_removed():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 5
    centres = generator.normal(size=(5, 6))
    few = (centres[labels] + generator.normal(size=(60, 6))) @ np.eye(6, 200)
    informed = few + 0.01 * generator.normal(size=(60, 200))
    blind = generator.normal(size=(60, 50)) @ generator.normal(size=(50, 200))
    kept = [h_score(f, labels, chance="kept") for f in (informed, blind)]
    removed = [h_score(f, labels) for f in (informed, blind)]
    assert kept[0] < kept[1]
    assert removed[0] > removed[1]


def test_where_every_order_of_the_labels_scores_the_same_the_score_is_0():
    features, labels = sample(n=30, d=80)
    assert h_score(features, labels, shrinkage=0) == 0.0


def test_the_plain_score_knows_no_affine_map():
    features, labels = sample()
    mix = np.random.default_rng(2).normal(size=(12, 12))
    found = h_score(features @ mix - 3, labels, shrinkage=0)
    assert found == pytest.approx(h_score(features, labels, shrinkage=0))


@pytest.mark.parametrize("score", [h_score, gbc])
@pytest.mark.parametrize(("n", "d"), [(60, 12), (30, 80)])
def test_rotation_scale_and_shift_do_not_count(score, n, d):
    features, labels = sample(n, d)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(d, d)))[0]
    for changed in (features @ turn, 1e4 * features + 7, 1e-4 * features):
        assert score(changed, labels) == pytest.approx(score(features, labels))


@pytest.mark.parametrize("n", [40, 50])
def test_all_the_shrinkage_leaves_nothing(n):
    assert h_score(*sample(n), shrinkage=1) == 0.0


@pytest.mark.parametrize(
    "options", [{"shrinkage": 1.5}, {"shrinkage": -0.1}, {"chance": "gone"}]
)
def test_h_score_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        h_score(*sample(), **options)


def star(centre, deviation, d=5):
    """Points whose mean is `centre` and covariance `deviation ** 2 I`, exactly."""
    points = np.vstack([np.eye(d), -np.eye(d)]) * np.sqrt(d - 0.5) * deviation
    return points + centre


def two_stars(shift, first=1.0, second=1.0):
    features = np.vstack([star(np.zeros(5), first), star(shift, second)])
    return features, np.repeat([0, 1], 10)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_equal_spheres_overlap_as_the_closed_form_says(covariance):
    shift = np.array([1.0, -2.0, 0.5, 0.0, 1.0])
    features, labels = two_stars(shift, 1.7, 1.7)
    wanted = -2 * np.exp(-(shift @ shift) / (8 * 1.7**2))
    assert gbc(features, labels, covariance=covariance) == pytest.approx(wanted)


def test_spheres_of_other_sizes_differ_by_the_determinant_of_all_dimensions():
    # Variances 1 and 4, means equal: 5 / 2 * ln(2.5 / 2).
    features, labels = two_stars(np.zeros(5), 1.0, 2.0)
    assert gbc(features, labels) == pytest.approx(-2 * (2.5 / 2) ** -2.5)


def bhattacharyya(first, second):
    """Distance of two Gaussians with full covariances `(mean, covariance)`."""
    gap, middle = first[0] - second[0], (first[1] + second[1]) / 2
    dets = [np.linalg.slogdet(each)[1] for each in (middle, first[1], second[1])]
    apart = gap @ np.linalg.solve(middle, gap) / 8
    return apart + (dets[0] - (dets[1] + dets[2]) / 2) / 2


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_gbc_is_minus_the_sum_over_ordered_pairs(covariance):
    features, labels = sample(n=50, d=6, classes=4)
    centred = features - features.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    scores = centred @ axes.T
    gaussians = []
    for label in range(4):
        own = scores[labels == label]
        variances = own.var(axis=0, ddof=1)
        if covariance == "spherical":
            variances = np.full(6, variances.mean())
        gaussians.append((own.mean(axis=0), np.diag(variances)))
    wanted = sum(
        np.exp(-bhattacharyya(gaussians[i], gaussians[j]))
        for i in range(4)
        for j in range(4)
        if i != j
    )
    assert gbc(features, labels, covariance=covariance) == pytest.approx(-wanted)


def test_classes_that_are_all_alike_reach_the_lower_bound():
    points = star(np.zeros(5), 1.0)
    features, labels = np.vstack([points] * 4), np.repeat(np.arange(4), 10)
    assert gbc(features, labels) == pytest.approx(-4 * 3)


def test_classes_far_apart_reach_the_upper_bound():
    assert gbc(*two_stars(np.full(5, 100.0))) == pytest.approx(0, abs=1e-12)


def test_only_the_first_components_count():
    features, labels = sample(n=50, d=9)
    centred = features - features.mean(axis=0)
    vectors, values, _ = np.linalg.svd(centred, full_matrices=False)
    cut = vectors[:, :3] * values[:3]
    assert gbc(features, labels, dimensions=3) == pytest.approx(gbc(cut, labels))


def test_a_class_of_equal_images_is_no_point():
    features, labels = two_stars(np.full(5, 0.01))
    features[labels == 0] = features[0]
    floor = 1e-4 * features.var(axis=0).mean()
    other = features[labels == 1]
    size = other.var(axis=0, ddof=1).mean()
    middle = (floor + size) / 2
    gap = ((features[0] - other.mean(axis=0)) ** 2).sum() / middle / 8
    ranks = np.linalg.matrix_rank(features - features.mean(axis=0))
    wanted = gap + ranks / 2 * np.log(middle / np.sqrt(floor * size))
    assert gbc(features, labels) == pytest.approx(-2 * np.exp(-wanted), rel=1e-6)


@pytest.mark.parametrize("options", [{"dimensions": 0}, {"covariance": "full"}])
def test_gbc_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        gbc(*sample(), **options)
