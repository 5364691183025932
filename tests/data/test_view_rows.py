"""Answers averaged over views of an image: the mean, in order, and always the same."""

import numpy as np
import pytest
from networks import CLASSES, coloured, outputs, pixels, small_classifier
from scipy.special import softmax

import kerastl
from kerastl.data.augmentation import Augmentation
from kerastl.data.sets import ImageSet
from kerastl.data.sources import batches

IMAGES, LABELS = coloured(3)


@pytest.fixture(scope="module")
def model():
    return small_classifier(learnt=True)


def probabilities(model, images, **options):
    return kerastl.predict(model, images, **options).probabilities


def by_hand(model, images):
    return softmax(outputs(model, images).astype("float64"), axis=1)


def test_one_view_is_the_plain_answer(model):
    np.testing.assert_array_equal(
        probabilities(model, IMAGES, views=1, augment="strong"),
        probabilities(model, IMAGES),
    )


def test_two_views_are_the_image_and_its_mirror_image(model):
    expected = (by_hand(model, IMAGES) + by_hand(model, IMAGES[:, :, ::-1])) / 2
    found = probabilities(model, IMAGES, views=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def drawn(view, augment, seed=0):
    """One augmented view of all images, as training would see it."""
    images = ImageSet(IMAGES, None, ())
    data = batches(images, image_size=16, augment=augment, seed=seed, epoch=view)
    return np.concatenate([np.asarray(batch) for batch in data])


@pytest.mark.parametrize("augment", ["light", "standard", "randaugment"])
def test_more_views_are_what_training_would_have_seen(model, augment):
    views = [IMAGES, IMAGES[:, :, ::-1], drawn(2, augment), drawn(3, augment)]
    expected = np.mean([by_hand(model, view) for view in views], axis=0)
    found = probabilities(model, IMAGES, views=4, augment=augment)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_what_must_not_be_mirrored_is_not(model):
    expected = (by_hand(model, IMAGES) + by_hand(model, drawn(1, "digits"))) / 2
    found = probabilities(model, IMAGES, views=2, augment="digits")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_symmetric_image_has_the_same_answer_in_its_mirror(model):
    same = np.concatenate([IMAGES[:, :, :8], IMAGES[:, :, 7::-1]], axis=2)
    np.testing.assert_allclose(
        probabilities(model, same, views=2), probabilities(model, same), rtol=1e-6
    )


def test_the_batch_size_does_not_matter(model):
    options = {"views": 3, "augment": "standard"}
    np.testing.assert_allclose(
        probabilities(model, pixels(9), batch_size=4, **options),
        probabilities(model, pixels(9), batch_size=64, **options),
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_seed_decides(model):
    one, same, other = (
        probabilities(model, IMAGES, views=3, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_probabilities_still_sum_to_one(model):
    made = probabilities(model, IMAGES, views=3)
    np.testing.assert_allclose(made.sum(axis=1), 1)


def test_binary_and_multilabel_answers_are_averaged_too():
    for task in ("binary", "multilabel"):
        model = small_classifier(CLASSES[:2], task=task, learnt=True)
        plain = probabilities(model, IMAGES)
        mirror = probabilities(model, IMAGES[:, :, ::-1])
        found = probabilities(model, IMAGES, views=2)
        np.testing.assert_allclose(found, (plain + mirror) / 2, rtol=1e-4, atol=1e-6)


def test_evaluate_scores_the_averaged_answers(model):
    images = ImageSet(IMAGES, LABELS, CLASSES)
    made = kerastl.predict(model, images, views=3, augment="standard", seed=2)
    report = kerastl.evaluate(model, images, views=3, augment="standard", seed=2)
    truth = made.probabilities[np.arange(len(LABELS)), LABELS]
    expected = -np.log(np.clip(truth, 2e-16, 1)).mean()
    assert report.metrics["log_loss"] == pytest.approx(expected, rel=1e-4)


def test_progress_runs_over_all_views(model):
    seen = []
    kerastl.predict(
        model, IMAGES, views=3, batch_size=5, progress=lambda *done: seen.append(done)
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (27, 27)
    assert {total for _, total in seen} == {27}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 0}, "`views` must be at least 1"),
        ({"views": 2, "augment": None}, "for the views to differ"),
        ({"views": 2, "augment": Augmentation()}, "for the views to differ"),
        ({"views": 2, "augment": "lihgt"}, "Did you mean 'light'"),
        ({"views": 3, "seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_views_that_cannot_be_made_are_refused(model, options, words):
    with pytest.raises(ValueError, match=words):
        kerastl.predict(model, IMAGES, **options)
