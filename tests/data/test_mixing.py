"""Mixup and CutMix: pixels and labels are mixed by one and the same share."""

import numpy as np
import pytest

from kerastl.data.changes_tensorflow import mix_images, mix_labels
from kerastl.data.mixing import Mixing
from kerastl.data.sets import ImageSet
from kerastl.data.sources import batches

SIZE = (12, 9)
NAMES = ("ash", "beech", "cedar")
BOTH = Mixing(mixup=0.4, cutmix=1.0)


def noise(count=11):
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, *SIZE, 3)).astype("uint8")


IMAGES = ImageSet(noise(), np.arange(11) % 3, NAMES)


def drawn(mixing, total=40, batch_size=8, seed=0, epoch=0):
    return mixing.draw(total, batch_size, SIZE, seed, epoch)


def epoch_of(mixing, image_set=IMAGES, number=0, **options):
    """(images, labels) of one epoch, batch after batch."""
    options = {"image_size": SIZE, "batch_size": 4, "seed": 3, **options}
    data = batches(image_set, mixing=mixing, epoch=number, **options)
    return [(images.numpy(), labels.numpy()) for images, labels in data]


def joined(pairs):
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def by_hand(images, labels, rows):
    """Zhang et al., eq. 1, and Yun et al., eq. 1, image by image in NumPy."""
    mixed_images, mixed_labels = [], []
    for i, partner in enumerate(rows["partner"]):
        mask = np.full((*images.shape[1:3], 1), rows["blend"][i], "float64")
        top, left, bottom, right = rows["box"][i]
        mask[top:bottom, left:right] = 0.0
        mixed_images.append(mask * images[i] + (1 - mask) * images[partner])
        share = float(rows["share"][i])
        mixed_labels.append(share * labels[i] + (1 - share) * labels[partner])
    return np.stack(mixed_images), np.stack(mixed_labels)


@pytest.mark.parametrize("mixing", [BOTH, Mixing(mixup=1.0), Mixing(cutmix=1.0)])
def test_batches_are_the_papers_equations(mixing):
    plain = epoch_of(None, shuffle=True)
    rows = mixing.draw(11, 4, SIZE, 3, 0)
    rows.setdefault("box", np.zeros((11, 4), int))
    for number, (mixed, shares) in enumerate(epoch_of(mixing, shuffle=True)):
        images, labels = plain[number]
        part = {name: row[4 * number : 4 * number + 4] for name, row in rows.items()}
        expected = by_hand(images, np.eye(3)[labels], part)
        np.testing.assert_allclose(mixed, expected[0], atol=1e-3)
        np.testing.assert_allclose(shares, expected[1], atol=1e-6)


@pytest.mark.parametrize("mixing", [BOTH, Mixing(mixup=0.2), Mixing(cutmix=0.5)])
def test_labels_are_float_shares_that_sum_to_one(mixing):
    _, labels = joined(epoch_of(mixing))
    assert labels.shape == (11, 3)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert labels.min() >= 0


@pytest.mark.parametrize("off", [None, Mixing(), Mixing(mixup=0.0, cutmix=0.0)])
def test_an_alpha_of_zero_changes_no_bit(off):
    plain, labels = joined(epoch_of(None, augment="standard", shuffle=True))
    images, same = joined(epoch_of(off, augment="standard", shuffle=True))
    np.testing.assert_array_equal(images, plain)
    np.testing.assert_array_equal(same, labels)
    assert same.dtype == np.int32


def test_a_share_of_one_is_the_identity():
    rows = {
        "partner": np.array([2, 0, 1]),
        "share": np.ones(3, "float32"),
        "blend": np.ones(3, "float32"),
        "box": np.zeros((3, 4), "int32"),
    }
    import tensorflow as tf

    images = tf.constant(noise(3), tf.float32)
    np.testing.assert_array_equal(mix_images(images, rows), images)
    labels = mix_labels(tf.constant([2, 0, 1]), rows, 3)
    np.testing.assert_array_equal(labels, np.eye(3)[[2, 0, 1]])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mixup_have_the_moments_of_the_beta_distribution(alpha):
    rows = drawn(Mixing(mixup=alpha), total=4000, batch_size=1)
    variance = 1 / (4 * (2 * alpha + 1))
    # Four standard deviations of the mean of 4000 draws.
    assert abs(rows["share"].mean() - 0.5) < 4 * (variance / 4000) ** 0.5
    np.testing.assert_allclose(rows["share"].var(), variance, rtol=0.1)
    np.testing.assert_array_equal(rows["share"], rows["blend"])


def test_the_label_is_exactly_the_share_of_the_pixels():
    # Image i is all one colour of its own, so the pixels can be counted.
    plain = np.arange(8)[:, None, None, None] + np.zeros((1, *SIZE, 3))
    images = ImageSet(plain.astype("uint8"), np.arange(8), tuple("abcdefgh"))
    for number in range(6):
        for mixed, labels in epoch_of(Mixing(cutmix=1.0), images, number):
            for image, label in zip(mixed, labels, strict=True):
                counts = [(image[..., 0] == i).sum() for i in range(8)]
                shares = np.array(counts, "float32") / (SIZE[0] * SIZE[1])
                np.testing.assert_allclose(label, shares, atol=1e-7)


def test_boxes_lie_within_the_image_and_reach_its_edges():
    box = drawn(Mixing(cutmix=1.0), total=2000, batch_size=1)["box"]
    assert box.min() == 0
    assert (box[:, 2].max(), box[:, 3].max()) == SIZE
    assert (box[:, :2] <= box[:, 2:]).all()
    # Cut at the border, they are smaller than drawn: more than half remains.
    share = drawn(Mixing(cutmix=1.0), total=2000, batch_size=1)["share"]
    assert 0.55 < share.mean() < 0.75


def test_partners_are_a_permutation_of_each_batch():
    partner = drawn(BOTH, total=19, batch_size=8)["partner"]
    for start, stop in ((0, 8), (8, 16), (16, 19)):
        np.testing.assert_array_equal(np.sort(partner[start:stop]), range(stop - start))


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1.0), BOTH])
def test_a_batch_has_one_share(mixing):
    rows = drawn(mixing, total=96, batch_size=8)
    for name in rows.keys() - {"partner"}:
        each = rows[name].reshape(12, 8, -1)
        np.testing.assert_array_equal(each, each[:, :1].repeat(8, axis=1))
    assert len(np.unique(rows["share"])) > 8


def test_with_both_each_batch_is_mixed_in_one_way():
    rows = drawn(BOTH, total=400, batch_size=1)
    cut = (rows["box"] != 0).any(axis=1)
    np.testing.assert_array_equal(rows["blend"][cut], 1)
    np.testing.assert_array_equal(rows["blend"][~cut], rows["share"][~cut])
    assert 150 < cut.sum() < 250


def test_seed_epoch_and_step_decide():
    first = drawn(BOTH)
    for name, row in drawn(BOTH, total=24).items():
        np.testing.assert_array_equal(row, first[name][:24])
    for other in (drawn(BOTH, seed=1), drawn(BOTH, epoch=1)):
        assert not np.array_equal(other["share"], first["share"])


def test_the_same_seed_gives_the_same_batches_and_epochs_differ():
    options = {"augment": "standard", "shuffle": True}
    once, again = (joined(epoch_of(BOTH, **options)) for _ in range(2))
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])
    later = joined(epoch_of(BOTH, number=1, **options))
    assert not np.array_equal(once[1], later[1])


def test_mixed_batches_are_the_known_ones():
    # The same numbers on every backend: they come from NumPy alone.
    rows = drawn(BOTH, total=4, batch_size=2, seed=5, epoch=2)
    expected = np.random.default_rng([5, 2, 3, 1])
    np.testing.assert_array_equal(rows["partner"][2:], expected.permutation(2))


def test_augmentation_and_order_stay_what_they_are():
    options = {"augment": "light", "shuffle": True}
    plain, _ = joined(epoch_of(None, **options))
    mixed, _ = joined(epoch_of(Mixing(cutmix=1.0), **options))
    # Outside of the boxes the pixels are the image's own.
    box = Mixing(cutmix=1.0).draw(11, 4, SIZE, 3, 0)["box"]
    for image, own, (top, left, bottom, right) in zip(mixed, plain, box, strict=True):
        outside = np.ones(SIZE, bool)
        outside[top:bottom, left:right] = False
        np.testing.assert_array_equal(image[outside], own[outside])


def test_several_labels_are_mixed_one_by_one():
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 1]])
    images = ImageSet(noise(3), labels, NAMES)
    ((_, mixed),) = epoch_of(Mixing(mixup=1.0), images)
    rows = Mixing(mixup=1.0).draw(3, 4, SIZE, 3, 0)
    share = rows["share"][:, None]
    expected = share * labels + (1 - share) * labels[rows["partner"]]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)


@pytest.mark.parametrize("drop", [False, True])
def test_shapes_are_known_beforehand(drop):
    data = batches(
        IMAGES, image_size=SIZE, batch_size=4, mixing=BOTH, drop_remainder=drop
    )
    assert tuple(data.element_spec[0].shape) == (4 if drop else None, *SIZE, 3)
    assert tuple(data.element_spec[1].shape) == (4 if drop else None, 3)


@pytest.mark.parametrize("values", [{"mixup": -0.1}, {"cutmix": -1}])
def test_negative_alphas_are_refused(values):
    with pytest.raises(ValueError, match="must be at least 0"):
        Mixing(**values)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match="None for images without labels"):
        batches(ImageSet(noise(), None, ()), image_size=SIZE, mixing=BOTH)
    with pytest.raises(TypeError, match=r"Pass Mixing\(mixup=0.2\)"):
        batches(IMAGES, image_size=SIZE, mixing=0.2)
