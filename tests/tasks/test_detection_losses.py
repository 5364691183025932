"""The losses of the three kinds: closed forms, and what must not matter to them."""

import keras
import numpy as np
import pytest
from keras import ops

from kerastl.evaluation.detection import overlaps
from kerastl.tasks import DetectionTask
from kerastl.tasks.anchors import decode_boxes
from kerastl.tasks.detectors import OWN_KINDS as KINDS
from kerastl.tasks.detectors import find_detector

CLASSES = ("a", "b", "c")
SIZE = (64, 96)
BOXES = np.array([[8, 8, 30, 26], [40, 20, 52, 30], [50, 4, 94, 60.0]])


def task_of(kind):
    anchors = find_detector(kind).plain_anchors(SIZE, (3, 4, 5))
    return DetectionTask(CLASSES, kind, anchors)


def rows_of(*images, most=5):
    """Padded rows `(n, most, 5)` of images, each a list of indices of `BOXES`."""
    rows = np.zeros((len(images), most, 5), np.float32)
    rows[..., 4] = -1
    for place, chosen in enumerate(images):
        rows[place, : len(chosen), :4] = BOXES[list(chosen)]
        rows[place, : len(chosen), 4] = list(chosen)
    return rows


def new_outputs(task, count):
    """What a new head says: zeros for boxes, the kind's bias for classes."""
    outputs = np.zeros((count, len(task.anchors), 4 + len(CLASSES)), np.float32)
    outputs[..., 4:] = task.detector.bias
    return outputs


def loss(task, targets, outputs):
    each = task.loss()
    each.reduction = None
    return ops.convert_to_numpy(each(targets, outputs))


def huber(deltas):
    off = np.abs(deltas.astype(np.float64))
    return np.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum(axis=-1)


def boxes_part(task, target):
    """The boxes' share of a new head's loss, by NumPy."""
    mine = target[:, 4] >= 0
    if task.kind != "yolo":
        return huber(target[mine, :4]).sum()
    anchors = task.anchors.boxes[mine]
    truth = decode_boxes(target[mine, :4].astype(np.float64), anchors)
    total = 0.0
    for box, own in zip(truth, anchors, strict=True):
        low, high = np.minimum(box[:2], own[:2]), np.maximum(box[2:], own[2:])
        around = (high - low).prod()
        areas = [(each[2:] - each[:2]).prod() for each in (box, own)]
        iou = overlaps(box[None], own[None])[0, 0]
        union = sum(areas) / (1 + iou)
        total += 1 - iou + (around - union) / around
    return 2.0 * total


def closed_form(task, target):
    """The loss of a new head on one image's targets."""
    counts = target[:, 5] == 1
    positives = int(((target[:, 4] >= 0) & counts).sum())
    background = int((counts & (target[:, 4] < 0)).sum())
    many, classes, prior = max(positives, 1), len(CLASSES), 0.01
    if task.kind == "ssd":
        hard = min(3 * many, background)
        said = (positives + hard) * np.log(classes + 1)
    else:
        yes, no = -np.log(prior), -np.log(1 - prior)
        nays = background * classes + positives * (classes - 1)
        if task.kind == "retinanet":
            yes, no = 0.25 * (1 - prior) ** 2 * yes, 0.75 * prior**2 * no
        said = positives * yes + nays * no
    return (said + boxes_part(task, target)) / many


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_first_loss_is_its_closed_form(kind):
    task = task_of(kind)
    targets = task.encode(rows_of([0, 1, 2], [1], []))
    found = loss(task, targets, new_outputs(task, 3))
    expected = [closed_form(task, target) for target in targets]
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert (targets[..., 4] >= 0).sum(axis=1)[2] == 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_padding_does_not_matter(kind):
    task = task_of(kind)
    few, many = (task.encode(rows_of([0, 2], [], most=m)) for m in (5, 50))
    np.testing.assert_array_equal(few, many)
    noise = np.random.default_rng(0).normal(size=new_outputs(task, 2).shape)
    noise = noise.astype(np.float32)
    np.testing.assert_array_equal(loss(task, few, noise), loss(task, many, noise))


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_anchors_that_are_neither_say_does_not_matter(kind):
    task = task_of(kind)
    targets = task.encode(rows_of([0, 1, 2]))
    if kind == "yolo":
        targets[:, ::7, 5] = np.where(targets[:, ::7, 4] < 0, 0, 1)
    none = targets[0, :, 5] == 0
    assert none.any()
    random = np.random.default_rng(1)
    outputs = random.normal(size=new_outputs(task, 1).shape).astype(np.float32)
    wild = 5 * random.normal(size=outputs.shape)
    other = np.where(none[None, :, None], wild, outputs)
    other = other.astype(np.float32)
    np.testing.assert_allclose(
        loss(task, targets, outputs), loss(task, targets, other), rtol=1e-6
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_loss_is_lowest_at_the_truth(kind):
    task = task_of(kind)
    targets = task.encode(rows_of([0, 1, 2]))
    outputs = np.full_like(new_outputs(task, 1), -12.0)
    outputs[..., :4] = targets[..., :4]
    mine = targets[0, :, 4] >= 0
    outputs[0, mine, 4 + targets[0, mine, 4].astype(int)] = 12.0
    assert loss(task, targets, outputs)[0] < 0.01
    swapped = outputs[..., [0, 1, 2, 3, 5, 6, 4]]
    assert loss(task, targets, swapped)[0] > 1
    moved = outputs + np.array([0.5, 0, 0, 0, 0, 0, 0], np.float32)
    assert loss(task, targets, moved)[0] > 0.2


@pytest.mark.parametrize("kind", list(KINDS))
def test_images_without_objects_train_the_background(kind):
    task = task_of(kind)
    empty = task.encode(rows_of([], []))
    x = keras.Input((2,))
    bias = keras.layers.Dense(
        1, kernel_initializer="zeros", bias_initializer="zeros", name="bias"
    )
    spread = keras.layers.Rescaling(1.0)(bias(x))
    shape = (len(task.anchors), 4 + len(CLASSES))
    out = keras.layers.RepeatVector(shape[0] * shape[1])(spread)
    model = keras.Model(x, keras.layers.Reshape(shape)(out))
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss=task.loss())
    history = model.fit(np.zeros((2, 2)), empty, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[0] > history[1] > history[2] > history[3] > 0
    # What moved says less of every class than before.
    assert bias.get_weights()[1][0] < 0


def test_hard_background_is_three_times_the_objects():
    task = task_of("ssd")
    targets = task.encode(rows_of([1]))
    count = int((targets[0, :, 4] >= 0).sum())
    outputs = np.zeros_like(new_outputs(task, 1))
    outputs[..., 4:] = -20.0
    # Certain of a class that is not there, at four times as many places.
    wrong = np.flatnonzero((targets[0, :, 4] < 0) & (targets[0, :, 5] == 1))
    outputs[0, wrong[: 4 * count], 4] = 7.0
    outputs[0, targets[0, :, 4] >= 0, 5] = 20.0
    outputs[..., :4] = targets[..., :4]
    np.testing.assert_allclose(loss(task, targets, outputs)[0], 3 * 7.0, rtol=1e-3)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_object_has_a_place_and_its_code_is_its_box(kind):
    task = task_of(kind)
    # A box of two pixels between all cells, and two that share everything.
    odd = np.array(
        [[15, 15, 17, 17], [20, 20, 60, 60], [20, 20, 60, 60], [0, 0, 96, 64]]
    )
    rows = np.zeros((1, 4, 5), np.float32)
    rows[0, :, :4], rows[0, :, 4] = odd, [0, 1, 2, 0]
    target = task.encode(rows)[0]
    match = task.detector.match(odd.astype(float), task.anchors)
    assert set(range(4)) <= set(match.tolist())
    mine = match >= 0
    back = decode_boxes(target[mine, :4], task.anchors.boxes[mine])
    np.testing.assert_allclose(back, odd[match[mine]], atol=1e-4)


def test_yolos_cells_are_those_around_the_centre_at_the_level_of_the_size():
    task = task_of("yolo")
    box = np.array([[10.0, 10, 38, 38]])  # 28 pixels: stride 8.
    match = task.detector.match(box, task.anchors)
    cells = (task.anchors.boxes[:, :2] + task.anchors.boxes[:, 2:]) / 2
    mine = match == 0
    assert set(task.anchors.strides_of[mine]) == {8}
    assert np.abs(cells[mine] - 24).max() < 12
    # Cells at 4, 12, 20, 28, 36 along an axis: 20 and 28 are nearer than 12.
    assert mine.sum() == 4
    # Of two objects the smaller takes what both want, but for one.
    both = np.concatenate([box, [[16.0, 16, 32, 32]]])
    match = task.detector.match(both, task.anchors)
    assert [(match == k).sum() for k in (0, 1)] == [1, 3]


def test_scores_are_probabilities():
    logits = np.array([[0.0, 0.0, 0.0], [1000.0, -1000.0, 0.0]])
    np.testing.assert_allclose(
        find_detector("ssd").scores(logits), [[0.25] * 3, [1, 0, 0]], atol=1e-12
    )
    np.testing.assert_allclose(
        find_detector("retinanet").scores(logits), [[0.5] * 3, [1, 0, 0.5]], atol=1e-12
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_loss_comes_back_from_its_config(kind):
    one = task_of(kind).loss()
    again = keras.losses.deserialize(keras.losses.serialize(one))
    assert type(again) is type(one)
    assert again.box_weight == one.box_weight
