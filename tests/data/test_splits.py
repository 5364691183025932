"""Splits are disjoint, stratified and seeded, and keep together what belongs so."""

import numpy as np
import pytest

from kerastl.data.sets import ImageSet
from kerastl.data.splitting import split_labels, split_set

LABELS = np.repeat([0, 1, 2], [50, 30, 20])


def test_parts_cover_everything_once():
    parts = split_labels(LABELS, validation=0.2, test=0.1, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(100))


def test_each_class_is_cut_in_the_given_shares():
    train, validation, test = split_labels(LABELS, validation=0.2, test=0.1)
    assert np.bincount(LABELS[train]).tolist() == [35, 21, 14]
    assert np.bincount(LABELS[validation]).tolist() == [10, 6, 4]
    assert np.bincount(LABELS[test]).tolist() == [5, 3, 2]


def test_a_small_class_is_in_each_part():
    labels = np.repeat([0, 1], [97, 3])
    for part in split_labels(labels, validation=0.1, test=0.1):
        assert set(labels[part]) == {0, 1}


def test_train_keeps_an_image_when_the_shares_are_large():
    train, *_ = split_labels([0, 0, 0, 1, 1, 1], validation=0.5, test=0.4)
    assert len(train) == 2


def test_the_same_seed_gives_the_same_split_and_another_another():
    first, again = (split_labels(LABELS, seed=5)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, split_labels(LABELS, seed=6)[1])


def test_no_global_state_is_read_or_changed():
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    split_labels(LABELS)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("seed", range(5))
def test_clusters_never_straddle_and_shares_are_near(seed):
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 100)
    clusters = labels * 1000 + random.integers(0, 15, 200)
    parts = split_labels(labels, validation=0.2, test=0.2, seed=seed, clusters=clusters)
    homes = [set(clusters[part]) for part in parts]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]
    for part in parts[1:]:
        assert np.all(np.abs(np.bincount(labels[part]) - 20) <= 10)


def test_two_clusters_for_two_parts_are_shared_out():
    labels, clusters = np.repeat([0, 1], 20), np.arange(40) // 10
    train, validation, _ = split_labels(labels, validation=0.2, clusters=clusters)
    assert set(labels[train]) == set(labels[validation]) == {0, 1}


def test_a_cluster_may_span_classes():
    labels = np.tile([0, 1], 20)
    clusters = np.arange(40) // 4
    train, validation, _ = split_labels(labels, validation=0.2, clusters=clusters)
    assert not set(clusters[train]) & set(clusters[validation])
    assert len(validation) == 8


def test_several_labels_are_stratified():
    random = np.random.default_rng(0)
    labels = (random.random((300, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
    _, validation, _ = split_labels(labels, validation=0.2, seed=1)
    expected = 0.2 * labels.sum(axis=0)
    np.testing.assert_allclose(labels[validation].sum(axis=0), expected, atol=2)
    assert abs(len(validation) - 60) <= 3


def test_too_few_images_in_a_class_are_named():
    with pytest.raises(ValueError, match="'owl' has 1"):
        split_labels([0, 0, 1], class_names=("cat", "owl"))


def test_a_class_of_one_group_is_refused():
    with pytest.raises(ValueError, match="'1' has 1"):
        split_labels([0, 0, 1, 1], clusters=np.array([0, 1, 2, 2]))


def test_groups_that_cannot_be_shared_out_are_refused():
    # Any part of these three clusters lacks a class or leaves too little.
    labels, clusters = np.array([0, 1, 0, 2, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="Give smaller groups"):
        split_labels(labels, validation=0.4, clusters=clusters)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"validation": 1.0}, "below 1"),
        ({"validation": -0.1}, "at least 0"),
        ({"validation": 0.5, "test": 0.5}, "Some images must remain"),
    ],
)
def test_shares_that_leave_nothing_are_refused(shares, words):
    with pytest.raises(ValueError, match=words):
        split_labels(LABELS, **shares)


def numbered(values, labels):
    """An image set in which equal values are equal images."""
    values = np.asarray(values, "uint8")
    pixels = values.repeat(16).reshape(-1, 4, 4)
    return ImageSet(pixels, np.asarray(labels), ("a", "b"))


def test_copies_in_an_array_stay_together():
    values = np.arange(40) // 2
    images = numbered(values, np.arange(40) // 20)
    for seed in range(5):
        train, validation, _ = split_set(images, validation=0.3, seed=seed)
        shared = set(train.images[:, 0, 0]) & set(validation.images[:, 0, 0])
        assert not shared


def test_copies_under_two_labels_are_dropped_and_named():
    images = numbered([*range(10), 3], [0, 1] * 5 + [0])
    with pytest.warns(UserWarning, match="Dropped 2 images.*image 3 = image 10"):
        train, validation, _ = split_set(images)
    left = set(train.images[:, 0, 0]) | set(validation.images[:, 0, 0])
    assert left == set(range(10)) - {3}


def test_groups_of_an_image_set_stay_together():
    images = numbered(range(40), np.arange(40) % 2)
    groups = [f"patient {i // 4}" for i in range(40)]
    train, validation, _ = split_set(images, groups=groups)
    homes = [
        {value // 4 for value in part.images[:, 0, 0]} for part in (train, validation)
    ]
    assert not homes[0] & homes[1]


def test_groups_have_one_key_for_each_image():
    with pytest.raises(ValueError, match="of length 4"):
        split_set(numbered(range(4), [0, 1, 0, 1]), groups=["a"])


def test_a_part_without_a_share_is_none():
    train, validation, test = split_set(numbered(range(4), [0, 1] * 2), validation=0)
    assert (len(train), validation, test) == (4, None, None)


def test_images_without_labels_can_be_cut():
    images = ImageSet(
        np.arange(20, dtype="uint8").repeat(16).reshape(-1, 4, 4), None, ()
    )
    train, validation, _ = split_set(images)
    assert (len(train), len(validation)) == (16, 4)
