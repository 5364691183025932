import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from kerastl.selection import transferability as module
from kerastl.selection.transferability import knn_score


def sample(n=40, d=6, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = generator.normal(size=(classes, d))
    return centres[labels] + 1.2 * generator.normal(size=(n, d)), labels


@pytest.mark.parametrize(("classes", "k"), [(2, 1), (2, 3), (2, 7), (5, 1)])
def test_accuracy_is_that_of_scikit_learn(classes, k):
    features, labels = sample(classes=classes)
    model = KNeighborsClassifier(k, metric="cosine")
    wanted = cross_val_score(model, features, labels, cv=LeaveOneOut()).mean()
    assert knn_score(features, labels, neighbours=k) == pytest.approx(wanted)


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_several_classes_agree_with_a_count_by_hand(k):
    features, labels = sample(classes=4)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    right = 0
    for image in range(len(labels)):
        others = [i for i in range(len(labels)) if i != image]
        nearest = sorted(others, key=lambda i: -float(units[i] @ units[image]))[:k]
        seen = [labels[i] for i in nearest]
        # `index`: of classes with equally many votes, the one that is met first.
        winner = max(set(seen), key=lambda c: (seen.count(c), -seen.index(c)))
        right += winner == labels[image]
    assert knn_score(features, labels, neighbours=k) == pytest.approx(right / 40)


def test_twins_with_another_label_are_all_wrong():
    features, labels = sample()
    twice = np.concatenate([features, features])
    other = np.concatenate([labels, 1 - labels])
    assert knn_score(twice, other, neighbours=1) == 0.0


def test_twins_with_the_same_label_are_all_right():
    features, labels = sample(classes=4)
    twice = np.concatenate([features, features])
    assert knn_score(twice, np.concatenate([labels, labels]), neighbours=1) == 1.0


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_order_of_images_does_not_count_even_among_ties(k):
    generator = np.random.default_rng(3)
    features = generator.integers(0, 2, (30, 3)) + 0.0
    labels = np.arange(30) % 3
    found = {
        round(knn_score(features[order], labels[order], neighbours=k), 12)
        for order in (generator.permutation(30) for _ in range(8))
    }
    assert len(found) == 1


def test_all_equally_far_share_the_one_vote():
    # Each of two has 1 friend and 3 others; each of three, 2 and 2: a draw, half right.
    found = knn_score(np.eye(5), [0, 0, 1, 1, 1], neighbours=1)
    assert found == pytest.approx(3 / 10)


def test_the_last_vote_is_shared_and_a_draw_goes_to_the_nearest():
    slope, far = np.radians(10), np.radians(60)
    features = [
        [1.0, 0.0, 0.0],
        [np.cos(slope), np.sin(slope), 0.0],
        [np.cos(far), 0.0, np.sin(far)],
        [np.cos(far), 0.0, -np.sin(far)],
    ]
    # The first two: one near friend, then two others for one vote. The rest: both of
    # their votes go to the first two.
    assert knn_score(features, [0, 0, 1, 1], neighbours=2) == 0.5


def test_copies_of_other_lengths_are_equally_far():
    generator = np.random.default_rng(0)
    points, lengths = generator.normal(size=(40, 9)), generator.uniform(1, 3, (120, 1))
    features, labels = np.repeat(points, 3, axis=0) * lengths, np.tile([0, 0, 1], 40)
    # Of each three, two have a friend and a foe at angle 0; the third has two foes.
    assert knn_score(features, labels, neighbours=1) == pytest.approx(1 / 3)


def test_length_does_not_count():
    features, labels = sample()
    lengths = np.random.default_rng(1).uniform(0.1, 9, (40, 1))
    assert knn_score(features * lengths, labels) == knn_score(features, labels)


def test_a_row_of_zeros_has_no_neighbour_nearer_than_a_right_angle():
    features = [[0.0, 0.0], [0.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.1]]
    assert 0 <= knn_score(features, [0, 0, 1, 1, 0], neighbours=1) <= 1


def test_parts_give_what_the_whole_gives(monkeypatch):
    features, labels = sample(classes=4)
    whole = knn_score(features, labels)
    monkeypatch.setattr(module, "_CELLS", 7 * 40)
    assert knn_score(features, labels) == pytest.approx(whole)


def test_there_must_be_as_many_other_images():
    assert knn_score([[1.0], [2.0], [-1.0]] * 2, [0, 0, 1] * 2, neighbours=5) >= 0
    with pytest.raises(ValueError, match="`neighbours` must be at most 5"):
        knn_score([[1.0], [2.0], [-1.0]] * 2, [0, 0, 1] * 2, neighbours=6)


@pytest.mark.parametrize(("k", "error"), [(0, ValueError), (1.5, TypeError)])
def test_neighbours_are_counted(k, error):
    with pytest.raises(error, match="`neighbours` must be"):
        knn_score(*sample(), neighbours=k)
