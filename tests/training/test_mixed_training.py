"""Training on mixed batches, validation on plain ones, in one compile."""

import keras
import numpy as np
import pytest
from networks import CLASSES, coloured, small_classifier

import kerastl
from kerastl.data.mixing import Mixing
from kerastl.data.sources import batches
from kerastl.tasks.compiling import compile_model

IMAGES, LABELS = coloured(8)
MIXING = Mixing(mixup=0.3, cutmix=1.0)
TASKS = {"multiclass": CLASSES, "binary": CLASSES[:2], "multilabel": CLASSES}


def image_set(task="multiclass"):
    names = TASKS[task]
    labels = LABELS % len(names)
    if task == "multilabel":
        labels = np.eye(3, dtype=int)[labels]
        labels[0] = 1
    return kerastl.ImageSet(IMAGES, labels, names)


def mixed(images, mixing=MIXING):
    options = {"image_size": 16, "batch_size": 6, "shuffle": True, "seed": 0}
    return batches(images, mixing=mixing, **options)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_phases_train_on_mixed_batches_of_every_task(task, smoothing):
    model = small_classifier(TASKS[task], task=task, seed=0)
    images = image_set(task)
    phase = kerastl.Phase("head", trainable="all", epochs=3, learning_rate=0.02)
    history = kerastl.run_phases(
        model, mixed(images), images, phases=[phase], label_smoothing=smoothing, seed=0
    )
    compile_model(model, label_smoothing=smoothing)
    loss, share = model.evaluate(IMAGES, images.labels, verbose=0)
    best = history.best.epoch
    assert history.history["val_accuracy"][best] == pytest.approx(share)
    assert history.history["val_loss"][best] == pytest.approx(loss, rel=1e-4)


def test_an_alpha_of_zero_trains_the_same_weights():
    made = []
    for mixing in (None, Mixing()):
        keras.utils.set_random_seed(0)
        model = small_classifier(seed=0, dropout=0.0, learnt=True)
        compile_model(model, learning_rate=0.01)
        model.fit(mixed(image_set(), mixing), epochs=2, verbose=0)
        made.append(model.get_layer("head_dense").get_weights()[0])
    np.testing.assert_array_equal(*made)


def test_the_loss_of_a_mixed_batch_is_the_mean_of_both_labels():
    model = small_classifier(seed=0, learnt=True)
    ((images, shares),) = batches(
        image_set(), image_size=16, batch_size=24, mixing=Mixing(mixup=1.0), seed=3
    )
    rows = Mixing(mixup=1.0).draw(24, 24, (16, 16), 3, 0)
    losses = []
    for labels in (LABELS, LABELS[rows["partner"]]):
        losses.append(model.evaluate(np.asarray(images), labels, verbose=0)[0])
    share = rows["share"][0]
    expected = share * losses[0] + (1 - share) * losses[1]
    found = model.evaluate(np.asarray(images), np.asarray(shares), verbose=0)[0]
    assert found == pytest.approx(expected, rel=1e-4)
