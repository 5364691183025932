"""Segmenters: decoders on any network, the task, its loss and scores, and files."""

import json
import re

import keras
import numpy as np
import pytest
from families import MEMBERS
from PIL import Image
from sklearn.metrics import jaccard_score

from kerastl.data.masks import IGNORE, Masks
from kerastl.data.sets import ImageSet
from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.mask_plots import class_colours, overlay, plot_masks
from kerastl.evaluation.overlap import dice, image_interval, iou, pixel_confusion
from kerastl.models.backbones import build_backbone
from kerastl.models.decoders import feature_maps
from kerastl.models.freezing import trainable_report
from kerastl.prediction import evaluate, predict
from kerastl.tasks.building import load_model, save_model
from kerastl.tasks.segmentation import (
    MaskLoss,
    MeanOverlap,
    SegmentationTask,
    build_segmenter,
)
from kerastl.tasks.segmentation_report import segmentation_report
from kerastl.tasks.task import bind, task_from_config, task_of_set
from kerastl.training.phase import Phase
from kerastl.training.run import run_phases

NAMES = ("ground", "block", "bar")
COLOURS = np.array([[20, 30, 40], [220, 40, 40], [60, 230, 60]], np.uint8)
SIZE = 32


#: Building them all takes minutes, and the rule knows no family.
LIGHT = ("VGG16", "MobileNet", "ConvNeXtTiny")
FAMILIES = [
    pytest.param(m, id=m.name, marks=[] if m.name in LIGHT else [pytest.mark.slow])
    for m in MEMBERS
]


def network(size=SIZE, depth=3, seed=0):
    """A small encoder: normalised convolutions of stride 2, drawn from a seed."""
    x = inputs = keras.Input((size, size, 3) if isinstance(size, int) else (*size, 3))
    for number in range(1, depth + 1):
        rule = keras.initializers.HeNormal(seed + number)
        kind = {"padding": "same", "use_bias": False, "kernel_initializer": rule}
        x = keras.layers.Conv2D(6, 3, strides=2, name=f"conv_{number}", **kind)(x)
        x = keras.layers.BatchNormalization(name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    return keras.Model(inputs, x, name="small")


def segmenter(size=SIZE, classes=NAMES, **options):
    given = {"width": 8, "seed": 0, "preprocessing": "tf"} | options
    return build_segmenter(network(size), classes, **given)


def drawn(count, size=SIZE, seed=0):
    random, masks = np.random.default_rng(seed), np.zeros((count, size, size), int)
    for mask in masks:
        y, x, b = random.integers(0, size - 12, 3)
        mask[y : y + 11, x : x + 11] = 1
        mask[:, b : b + 5] = 2
        mask[-2:] = IGNORE
    return masks


@pytest.fixture(scope="module")
def data():
    masks = drawn(12)
    pixels = COLOURS[masks.clip(0, 2) * (masks < 3)]
    return ImageSet(pixels, Masks(masks, NAMES))


@pytest.fixture(scope="module")
def trained(data):
    """A segmenter after a phase of its head, its arrays before, and the history."""
    model = segmenter()
    before = {w.path: np.array(w) for w in model.weights}
    phase = Phase("head", trainable="head", epochs=25, learning_rate=0.02)
    given = {"batch_size": 2, "seed": 0, "verbose": 0}
    history = run_phases(model, data, data, phases=[phase], **given)
    return model, before, history


# Networks


@pytest.mark.parametrize("decoder", ["unet", "fpn", "deeplab"])
@pytest.mark.parametrize("size", [33, 40, 47, 64, (33, 50)])
def test_any_size_of_image_gives_as_many_pixels(decoder, size):
    model = segmenter(size, decoder=decoder)
    height, width = (size, size) if isinstance(size, int) else size
    assert model.output_shape == (None, height, width, 3)
    made = keras.ops.convert_to_numpy(model(np.zeros((1, height, width, 3), "f")))
    np.testing.assert_array_equal(made, 0)


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
@pytest.mark.parametrize("separable", [True, False])
def test_the_decoder_is_the_head(norm, separable):
    model = segmenter(norm=norm, separable=separable)
    trains = {v.path.split("/")[0] for v in model.trainable_variables}
    assert trains and all(name.startswith("head_") for name in trains)
    encoder = [w for w in model.weights if not w.path.startswith("head_")]
    assert len(encoder) == 3 * 5
    rows = {row.block: row for row in trainable_report(model).rows}
    assert rows["head"].trainable > 0
    assert sum(row.trainable for name, row in rows.items() if name != "head") == 0
    kinds = {type(layer).__name__ for layer in model.layers}
    assert ("SeparableConv2D" in kinds) == separable


def test_skips_are_the_last_maps_of_each_stride():
    maps = feature_maps(network(32))
    names = {s: x.shape[1:] for s, x in maps.items()}
    assert names == {2: (16, 16, 6), 4: (8, 8, 6), 8: (4, 4, 6)}
    backbone = build_backbone("MobileNet", alpha=0.25, weights=None, image_size=64)
    kept = ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu")
    kept = (*kept, "conv_pw_13_relu")
    for x, name in zip(feature_maps(backbone).values(), kept, strict=True):
        assert x is backbone.get_layer(name).output, name


@pytest.mark.parametrize("member", FAMILIES)
def test_every_family_has_its_maps(member):
    size = max(member.size, 64)
    backbone = build_backbone(member.name, weights=None, image_size=size)
    maps = feature_maps(backbone)
    assert maps[max(maps)] is backbone.output
    strides = list(maps)
    assert strides == sorted(strides) and {4, 8} <= set(strides) and len(maps) >= 4
    sides = [x.shape[1] for x in maps.values()]
    assert sides == sorted(sides, reverse=True)


def test_a_decoder_of_ones_own_is_a_function():
    def plain(maps, style):
        return style.convolve(maps[max(maps)], "mine", size=1)

    model = segmenter(decoder=plain)
    assert model.output_shape == (None, SIZE, SIZE, 3)
    assert "head_mine_conv" in bind(model).head_layers
    with pytest.raises(ValueError, match="'unet', 'fpn', 'deeplab'"):
        segmenter(decoder="segnet")


def test_a_backbone_without_maps_is_refused():
    x = keras.Input((16, 16, 3))
    flat = keras.Model(x, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ValueError, match="ends in a feature map"):
        build_segmenter(flat, NAMES, preprocessing="tf")


def test_a_seed_fixes_the_decoder():
    one, same, other = (segmenter(seed=seed) for seed in (1, 1, 2))
    pairs = zip(one.trainable_variables, same.trainable_variables, strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(np.array(a), np.array(b))
    name = "head_up_4_conv"
    kernels = [np.array(m.get_layer(name).pointwise_kernel) for m in (one, other)]
    assert not np.array_equal(*kernels)


# The task


def test_a_new_head_costs_log_c_exactly(data):
    model = segmenter()
    masks = np.asarray(data.labels.masks)
    loss, score = model.evaluate(data.images.astype("f"), masks, verbose=0)
    assert loss == pytest.approx(np.log(3), abs=1e-6)
    assert loss == pytest.approx(bind(model).task.chance_loss, abs=1e-6)
    # All ground: its share of the pixels that are of a class, and nothing else.
    assert score == pytest.approx((masks == 0).sum() / (masks < 3).sum() / 3, rel=1e-5)


def test_the_task_survives_json():
    task = SegmentationTask(NAMES, 11, "dice", COLOURS.tolist())
    assert task_from_config(json.loads(json.dumps(task.to_config()))) == task
    one = ImageSet(np.zeros((1, 8, 8)), Masks(np.zeros((1, 8, 8), int), NAMES))
    assert task_of_set(one) == SegmentationTask(NAMES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_names": ("a",)}, "2 to 255 names"),
        ({"class_names": NAMES, "ignore": 2}, "no class"),
        ({"class_names": NAMES, "objective": "iou"}, "'dice'"),
        ({"class_names": NAMES, "colours": ((1, 2, 3),)}, "shape"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        SegmentationTask(**fields)


def test_targets_are_checked(data):
    task = SegmentationTask(NAMES)
    task.check(data.labels)
    task.check_batch(np.full((1, 4, 4), IGNORE))
    with pytest.raises(ValueError, match=r"classes 0 to 2, or 255.*\[3\]"):
        task.check_batch(np.full((1, 4, 4), 3))
    with pytest.raises(ValueError, match="argmax"):
        task.check_batch(np.zeros((1, 4, 4, 3), int))
    with pytest.raises(TypeError, match="integers"):
        task.check_batch(np.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match="images with masks"):
        task.targets(ImageSet(np.zeros((1, 8, 8)), [0], ("a", "b")))
    other = Masks(data.labels.masks, ("a", "b", "c"))
    with pytest.raises(ValueError, match="The model's classes are ground"):
        task.targets(ImageSet(data.images, other))
    with pytest.raises(ValueError, match="0 for masks"):
        task.loss(0.1)


def test_a_classifier_refuses_masks(data):
    from kerastl.tasks.classification import MulticlassTask

    with pytest.raises(ValueError, match="images with classes"):
        MulticlassTask(NAMES).targets(data)
    assert not MulticlassTask.fits(data)


# Loss and metric


def test_the_loss_is_the_mean_over_pixels_of_a_class():
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 5, 5, 4)).astype("f")
    masks = random.integers(0, 4, (3, 5, 5))
    masks[random.random(masks.shape) < 0.3] = IGNORE
    masks[2, :4] = IGNORE  # An image with few: pixels count alike, not images.
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    kept = masks != IGNORE
    right = np.take_along_axis(shares, masks.clip(0, 3)[..., None], -1)[..., 0]
    expected = -np.log(right[kept]).mean()
    assert float(MaskLoss()(masks, logits)) == pytest.approx(expected, rel=1e-5)
    theirs = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=IGNORE)
    assert float(theirs(masks, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(MaskLoss()(masks[..., None], logits)) == pytest.approx(expected, 1e-5)
    each = MaskLoss(reduction="none")(masks, logits)
    assert float(np.mean(each)) == pytest.approx(expected, rel=1e-5)


def gradient(loss, masks, logits):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = loss(masks, x)
        return np.asarray(tape.gradient(value, x))
    import jax

    return np.asarray(jax.grad(lambda x: loss(masks, x))(logits))


@pytest.mark.parametrize("objective", ["crossentropy", "dice", "crossentropy+dice"])
def test_pixels_of_no_class_change_nothing(objective):
    random = np.random.default_rng(0)
    masks = random.integers(0, 3, (2, 6, 6))
    masks[:, 2:4] = IGNORE
    logits = random.normal(size=(2, 6, 6, 3)).astype("f")
    other = logits.copy()
    other[:, 2:4] = random.normal(size=other[:, 2:4].shape) * 50
    loss = MaskLoss(objective)
    assert float(loss(masks, logits)) == float(loss(masks, other))
    one, two = (gradient(loss, masks, x) for x in (logits, other))
    np.testing.assert_array_equal(one[:, 2:4], 0)
    np.testing.assert_allclose(one, two, atol=1e-7)
    assert np.abs(one[:, :2]).min() > 0
    scores = []
    for x in (logits, other):
        metric = MeanOverlap(3)
        metric.update_state(masks, x)
        scores.append(float(metric.result()))
    assert scores[0] == scores[1]


def test_a_batch_of_no_class_costs_nothing():
    masks, logits = np.full((1, 4, 4), IGNORE), np.ones((1, 4, 4, 3), "f")
    for objective in ("crossentropy", "dice"):
        assert float(MaskLoss(objective)(masks, logits)) == 0
        assert np.isfinite(gradient(MaskLoss(objective), masks, logits)).all()


def sure(masks, classes=2):
    """Logits of someone who is sure of these masks."""
    return (np.eye(classes)[masks] * 100).astype("f")


def test_dice_in_closed_form():
    loss = MaskLoss("dice")
    empty = np.zeros((1, 4, 4), int)
    # Class 1 neither occurs nor is predicted: it is left out, and all else is right.
    assert float(loss(empty, sure(empty))) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(gradient(loss, empty, sure(empty))).all()
    left, right = empty.copy(), empty.copy()
    left[..., :2], right[..., 2:] = 1, 1
    assert float(loss(left, sure(right))) == pytest.approx(1, abs=1e-6)
    middle = empty.copy()
    middle[..., 1:3] = 1
    assert float(loss(left, sure(middle))) == pytest.approx(0.5, abs=1e-6)
    logits = sure(left) / 50
    sides = [float(MaskLoss(each)(left, logits)) for each in ("crossentropy", "dice")]
    both = float(MaskLoss("crossentropy+dice")(left, logits))
    assert both == pytest.approx(sum(sides), rel=1e-6) and min(sides) > 0.01


@pytest.mark.parametrize("batch", [1, 7, 20])
def test_the_mean_iou_pools_all_pixels(batch):
    random = np.random.default_rng(1)
    masks, given = random.integers(0, 4, (2, 20, 6, 6))
    masks[random.random(masks.shape) < 0.2] = IGNORE
    masks[:10][masks[:10] == 3] = 0  # A class that half of the images lack.
    metric = MeanOverlap(5)
    for start in range(0, 20, batch):
        rows = slice(start, start + batch)
        metric.update_state(masks[rows], sure(given[rows], 5))
    kept = masks != IGNORE
    expected = jaccard_score(masks[kept], given[kept], average="macro")
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    found = iou(pixel_confusion(masks, given, 5))
    assert np.nanmean(found) == pytest.approx(expected) and np.isnan(found[4])


def test_a_perfect_answer_beside_void_scores_one():
    masks = drawn(2)
    metric = MeanOverlap(3)
    metric.update_state(masks, sure(np.where(masks == IGNORE, 1, masks), 3))
    assert float(metric.result()) == 1


# Scores


def test_background_does_not_carry_the_mean():
    masks = np.zeros((4, 10, 10), int)
    masks[:, 0, :5] = 1
    report = segmentation_report(
        np.stack([pixel_confusion(m, np.zeros_like(m), 3) for m in masks]), NAMES
    )
    assert [row.iou for row in report.per_class] == [0.95, 0.0, None]
    assert report.mean_iou == pytest.approx(0.475)
    assert report.mean_iou_without_first == 0
    assert report.pixel_accuracy == report.baseline == 0.95
    assert report.per_class[0].dice == pytest.approx(2 * 0.95 / 1.95)
    assert re.search("mean IoU without ground +0.0 %", str(report))
    json.dumps(report.to_dict())


def test_intervals_come_from_images():
    random = np.random.default_rng(0)
    found = random.integers(0, 50, (20, 3, 3))
    once = image_interval(found, iou)
    np.testing.assert_allclose(image_interval(found * 4, iou), once)
    more = image_interval(np.concatenate([found] * 4), iou)
    assert ((more[1] - more[0]) < 0.7 * (once[1] - once[0])).all()
    # Images that agree leave no doubt.
    same = image_interval(np.stack([found[0]] * 5), iou)
    np.testing.assert_allclose(same[0], same[1])


def test_dice_follows_from_iou():
    found = np.random.default_rng(0).integers(1, 50, (5, 3, 3))
    overlap = iou(found)
    np.testing.assert_allclose(dice(found), 2 * overlap / (1 + overlap))


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="of classes 0 to 1"):
        pixel_confusion([0, 2], [0, 1], 2)
    with pytest.raises(ValueError, match="of shape"):
        pixel_confusion([0, 1], [[0, 1]], 2)


# Training, predicting, files


def test_only_the_decoder_moves(trained):
    model, before, history = trained
    after = {w.path: np.array(w) for w in model.weights}
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    head = {v.path for v in model.trainable_variables}
    assert moved == head == set(history.phases[0].moved)
    scores = history.history["val_mean_iou"]
    assert scores[-1] > scores[0]


def test_best_weights_are_those_of_the_best_mean_iou(trained, data):
    model, _, history = trained
    masks = np.asarray(data.labels.masks)
    _, score = model.evaluate(data.images.astype("f"), masks, batch_size=4, verbose=0)
    assert score == pytest.approx(max(history.history["val_mean_iou"]), rel=1e-5)
    report = evaluate(model, data)
    assert report.mean_iou == pytest.approx(score, rel=1e-5)


def test_cached_training_is_the_same(data):
    results = []
    for cache in ("memory", "off"):
        model = segmenter()
        phase = Phase("head", trainable="head", epochs=2, learning_rate=0.01)
        given = {"batch_size": 4, "seed": 0, "verbose": 0, "cache": cache}
        history = run_phases(model, data, phases=[phase], **given)
        assert history.phases[0].cached == (cache == "memory")
        results.append([np.array(w) for w in model.weights])
    for a, b in zip(*results, strict=True):
        # Another graph may add in another order.
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_a_saved_segmenter_is_the_same(trained, data, tmp_path):
    model, *_ = trained
    save_model(model, tmp_path / "cells.keras")
    again = load_model(tmp_path / "cells.keras")
    assert bind(again).task == bind(model).task
    images = data.images[:3].astype("f")
    made = [each.predict(images, verbose=0) for each in (model, again)]
    np.testing.assert_array_equal(*made)


def test_a_tuned_segmenter_gives_its_backbone(trained):
    model, *_ = trained
    with pytest.warns(UserWarning, match="is left out"):
        new = build_segmenter(model, ("a", "b"), width=8)
    for name in ("conv_1", "norm_3"):
        pairs = zip(
            model.get_layer(name).get_weights(),
            new.get_layer(name).get_weights(),
            strict=True,
        )
        for a, b in pairs:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("resize", ["pad", "crop"])
def test_masks_have_the_size_of_their_files(resize, tmp_path):
    model = segmenter(resize=resize, classes=("a", "b"))
    sizes = [(20, 50), (64, 64), (31, 17)]
    paths = []
    for number, (height, width) in enumerate(sizes):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.zeros((height, width, 3), "uint8")).save(paths[-1])
    found = predict(model, paths)
    assert [mask.shape for mask in found.masks] == sizes
    given = [np.zeros((*size, 3), "uint8") for size in sizes]
    assert [mask.shape for mask in predict(model, given).masks] == sizes
    assert predict(model, Image.open(paths[0])).masks[0].shape == (20, 50)
    rows = list(found)
    assert rows[0]["a"] == 1 and rows[0]["b"] == 0
    written = found.write(tmp_path / "masks")
    back = Masks([str(path) for path in written], ("a", "b"))
    for number, size in enumerate(sizes):
        assert back.read(number).shape == size


def test_truth_through_the_whole_pipeline_scores_one(data):
    task = bind(segmenter()).task
    large = np.kron(data.labels.masks, np.ones((2, 2), int))
    for resize in ("stretch", "pad"):
        masks = Masks(large, NAMES)
        small = masks.rows(np.arange(12), image_size=(SIZE, SIZE), resize=resize)
        logits = sure(np.where(small == IGNORE, 0, small), 3)
        sizes = [large.shape[1:]] * 12
        answers = task.placed(task.decode(logits), sizes, resize)
        report = task.report(masks, task.predictions(answers))
        assert report.mean_iou == 1


def test_predictions_do_not_depend_on_their_company(trained, data):
    model, *_ = trained
    whole = predict(model, data).masks
    for batch_size in (1, 5):
        other = predict(model, data, batch_size=batch_size).masks
        for a, b in zip(whole, other, strict=True):
            assert (a != b).mean() < 0.002  # Kernels round by batch size.


def test_the_mirror_image_is_laid_back(trained, data):
    model, *_ = trained
    images = data.images.astype("f")
    softmax = keras.activations.softmax
    parts = [
        np.array(softmax(model.predict(images[:, :, ::step], verbose=0)))[:, :, ::step]
        for step in (1, -1)
    ]
    mean = sum(parts) / 2
    ranked = np.sort(mean, axis=-1)
    # Where two sure views contradict each other, rounding decides.
    clear = ranked[..., -1] - ranked[..., -2] > 1e-3
    assert clear.mean() > 0.9
    found = np.stack(predict(model, data.images, views=2).masks)
    np.testing.assert_array_equal(found[clear], mean.argmax(-1)[clear])
    with pytest.raises(ValueError, match="1, or 2"):
        predict(model, data.images, views=3)


def test_streams_of_masks_train(data):
    import tensorflow as tf

    model = segmenter(ignore=99)
    masks = np.where(data.labels.masks == IGNORE, 99, data.labels.masks)
    stream = tf.data.Dataset.from_tensor_slices((data.images, masks)).batch(4)
    phase = Phase("head", trainable="head", epochs=1, learning_rate=0.01)
    run_phases(model, stream, data, phases=[phase], verbose=0, seed=0)
    wrong = tf.data.Dataset.from_tensor_slices((data.images, masks + 1)).batch(4)
    with pytest.raises(ValueError, match="or 99 for none"):
        run_phases(model, wrong, phases=[phase], verbose=0, seed=0)


# Pictures


def test_pictures_show_image_truth_prediction_errors(data):
    truth = list(data.labels.masks[:2])
    given = [np.zeros_like(truth[0]), truth[1] * (truth[1] < 3)]
    figure = plot_masks(
        list(data.images[:2]), masks=truth, predicted=given, class_names=NAMES
    )
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["image", "truth", "predicted", "errors"]
    kept = np.concatenate([truth[0], truth[1]]) != IGNORE
    wrong = ((truth[0] != 0) & (truth[0] != IGNORE)).sum() / kept.sum()
    assert f"{wrong:.1%} of their pixels are wrong" in alt_text(figure)
    errors = figure.axes[3].get_images()[0].get_array()
    orange = (errors == (213, 94, 0)).all(axis=-1)
    np.testing.assert_array_equal(orange, (truth[0] != 0) & (truth[0] != IGNORE))
    assert len(plot_masks([data.images[0]]).axes) == 1


def test_masks_are_drawn_from_one_array_as_from_a_list():
    images = np.zeros((2, 8, 8, 3), "uint8")
    masks = np.stack([np.eye(8, dtype="uint8"), np.full((8, 8), 255, "uint8")])
    drawn = [
        [image.get_array() for axes in figure.axes for image in axes.images]
        for figure in (
            plot_masks(images, masks=masks, predicted=masks[::-1] % 2),
            plot_masks(list(images), masks=list(masks), predicted=[*masks[::-1] % 2]),
        )
    ]
    assert len(drawn[0]) == 8
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, other)


def test_overlays_leave_background_clear(data):
    mask = data.labels.masks[0].astype("uint8")
    made = overlay(data.images[0], mask, class_colours(3))
    clear = (mask == 0) | (mask == IGNORE)
    np.testing.assert_array_equal(made[clear], data.images[0][clear])
    assert (made[mask == 1] != data.images[0][mask == 1]).any()
    assert len(np.unique(class_colours(40), axis=0)) == 40


def test_the_record_says_what_the_kept_skips_save(data):
    from kerastl.features.planning import possible_cuts
    from kerastl.models.blocks import multiplications

    model = segmenter()
    (*_, cut) = possible_cuts(model)
    # The maps of all strides pass the cut, and nothing else.
    assert cut.layers == ("relu_1", "relu_2", "relu_3")
    assert cut.size == sum(6 * side**2 for side in (16, 8, 4))
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.01)
    given = {"batch_size": 4, "seed": 0, "verbose": 0, "cache": "memory"}
    history = run_phases(model, data, phases=[phase], **given)
    rest = multiplications(model) - cut.below
    saved = cut.below / (cut.below + 3 * rest)
    assert f"{saved:.1%} of the work saved" in history.phases[0].cache


def test_recipes_train_segmenters(data):
    from kerastl.training.recipes import fine_tune

    model = segmenter()
    before = {w.path: np.array(w) for w in model.weights}
    given = {"epochs": 1, "batch_size": 6, "seed": 0, "verbose": 0}
    given |= {"learning_rate": 1e-3, "augment": "light"}
    history = fine_tune(model, data, data, **given)
    moved = {w.path for w in model.weights if (np.array(w) != before[w.path]).any()}
    named = {path for record in history.phases for path in record.moved}
    # The best weights may be those of the first phase.
    assert moved <= named and "conv_1/kernel" in named and "head_logits/kernel" in named
