"""Detectors from building to the report: what trains, and where boxes lie."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl import Boxes, ImageSet, Phase, make_shapes
from kerastl.data.dense import DenseTargets
from kerastl.data.images import load_pixels
from kerastl.models.decoders import feature_maps
from kerastl.tasks import DetectionTask, fit_anchors
from kerastl.tasks.anchors import plain_anchors
from kerastl.tasks.detectors import OWN_KINDS as KINDS
from kerastl.tasks.task import bind

NAMES = ("circle", "square")
SIZE = 64


@pytest.fixture(scope="module")
def shapes():
    """Training and validation images of up to three shapes."""
    options = {"image_size": SIZE, "objects": (0, 3), "classes": NAMES}
    return [make_shapes(n, seed=n, **options)[0] for n in (12, 6)]


@pytest.fixture(scope="module")
def backbone():
    """Random and small; normalisation has statistics, as of loaded weights."""
    return kerastl.build_backbone(
        "MobileNet", alpha=0.25, weights="tiny", image_size=SIZE
    )


def build(backbone, classes=NAMES, **options):
    return kerastl.build_detector(backbone, classes, seed=0, width=16, **options)


@pytest.fixture(scope="module", params=list(KINDS))
def model(request, backbone, shapes):
    return build(backbone, shapes[0], kind=request.param)


@pytest.fixture(scope="module")
def ssd(backbone, shapes):
    return build(backbone, shapes[0])


def arrays(layers):
    return {w.path: np.array(w) for layer in layers for w in layer.weights}


def encoder(model):
    head = set(bind(model).head_layers)
    return [layer for layer in model.layers if layer.name not in head]


def test_it_is_one_plain_model_whose_head_is_all_but_the_backbone(model, backbone):
    assert type(model) is type(backbone)
    task = bind(model).task
    assert model.output_shape == (None, len(task.anchors), 4 + len(NAMES))
    assert model.outputs[0].dtype == "float32"
    known = {layer.name for layer in backbone.layers}
    assert {layer.name for layer in encoder(model)} == known
    trains = {w.path for w in model.trainable_weights}
    head = {w.path for n in bind(model).head_layers for w in model.get_layer(n).weights}
    assert trains == head


def test_a_new_head_says_the_anchors_and_its_prior(model, shapes):
    task = bind(model).task
    outputs = model.predict_on_batch(shapes[1].images.astype("float32"))
    np.testing.assert_allclose(outputs[..., :4], 0, atol=1e-6)
    np.testing.assert_allclose(outputs[..., 4:], task.detector.bias, rtol=1e-5)
    decoded = task.decode(outputs)
    np.testing.assert_allclose(decoded[0, :, :4], task.anchors.boxes, atol=1e-4)


def test_anchors_are_on_the_networks_own_cells(model):
    task, size = bind(model).task, SIZE
    grids = [(size // 2**level,) * 2 for level in (3, 4, 5)]
    assert list(task.anchors.grids) == grids


@pytest.mark.parametrize("image_size", [(48, 80), (50, 75)])
def test_any_size_will_do(image_size):
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, weights=None, image_size=image_size
    )
    made = build(backbone, levels=(4, 5, 6))
    task = bind(made).task
    assert made.output_shape[1] == len(task.anchors)
    maps = feature_maps(backbone)
    own = [tuple(maps[stride].shape[1:3]) for stride in (16, 32)]
    assert list(task.anchors.grids[:2]) == own
    # Above the backbone every second place is left.
    assert task.anchors.grids[2] == tuple(-(-side // 2) for side in own[1])


@pytest.fixture(scope="module")
def trained(backbone, shapes):
    """A detector after a phase, and its encoder's arrays before and after."""
    made = build(backbone, shapes[0], kind="retinanet")
    before, head = arrays(encoder(made)), arrays(made.layers)
    phase = Phase("head", trainable="head", epochs=2, learning_rate=3e-3)
    history = kerastl.run_phases(
        made, *shapes, phases=[phase], batch_size=4, seed=0, cache="off"
    )
    return made, before, head, history


def test_a_phase_moves_the_head_and_no_bit_of_the_encoder(trained):
    model, before, start, _ = trained
    after = arrays(encoder(model))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[path], after[path]) for path in before)
    names = bind(model).head_layers
    moved = arrays([model.get_layer(name) for name in names])
    still = [path for path in moved if np.array_equal(moved[path], start[path])]
    assert not still


def test_training_lowers_the_loss(trained):
    losses = trained[3].history["loss"]
    assert losses[-1] < losses[0]


def test_the_average_precision_after_an_epoch_is_that_of_evaluate(trained, shapes):
    model, *_, history = trained
    best = history.best
    assert best.monitor == "val_ap50"
    assert best.value == pytest.approx(kerastl.evaluate(model, shapes[1]).ap50)
    assert history.history["val_ap50"][best.epoch] == best.value
    assert max(history.history["val_ap50"]) == best.value


def test_a_stream_is_judged_by_its_loss(ssd, shapes):
    encode = bind(ssd).task.encode

    class Encoded(keras.utils.PyDataset):
        def __init__(self, image_set):
            super().__init__()
            batches = kerastl.batches(image_set, image_size=SIZE, batch_size=4)
            pairs = [
                (np.asarray(images), np.asarray(boxes)) for images, boxes in batches
            ]
            self.pairs = [(images, encode(boxes)) for images, boxes in pairs]

        def __len__(self):
            return len(self.pairs)

        def __getitem__(self, index):
            return self.pairs[index]

    batches = [Encoded(each) for each in shapes]
    phase = Phase("head", trainable="head", epochs=1, learning_rate=1e-3)
    history = kerastl.run_phases(ssd, *batches, phases=[phase], seed=0)
    assert history.best.monitor == "val_loss"


def test_boxes_are_trained_in_small_batches_after_a_short_head(ssd, shapes):
    head, rest = kerastl.recipe_phases(ssd, "lp_ft")
    assert (head.epochs, head.trainable, rest.trainable) == (4, "head", "all")
    steps = []
    counting = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(batch)
    )
    given = {"recipe": "linear_probe", "epochs": 1, "callbacks": [counting]}
    kerastl.fine_tune(ssd, *shapes, **given)
    # Three batches of 4 hold the 12 images.
    assert len(steps) == 3


def test_a_trained_detector_survives_its_file(trained, shapes, tmp_path):
    model = trained[0]
    kerastl.save_model(model, tmp_path / "model.keras")
    loaded = kerastl.load_model(tmp_path / "model.keras")
    assert bind(loaded).task == bind(model).task
    images = shapes[1].images.astype("float32")
    np.testing.assert_array_equal(
        model.predict_on_batch(images), loaded.predict_on_batch(images)
    )


def test_predictions_do_not_depend_on_their_company(trained, shapes):
    whole = kerastl.predict(trained[0], shapes[1].images)
    alone = kerastl.predict(trained[0], shapes[1].images[2:3])
    np.testing.assert_allclose(whole.boxes[2], alone.boxes[0], atol=1e-3)
    np.testing.assert_allclose(whole.scores[2], alone.scores[0], atol=1e-5)


def test_cached_and_uncached_training_agree(backbone, shapes):
    found = []
    for cache in ("off", "memory"):
        made = build(backbone, shapes[0])
        phase = Phase("head", trainable="head", epochs=2, learning_rate=1e-3)
        kerastl.run_phases(
            made, *shapes, phases=[phase], batch_size=4, seed=0, cache=cache
        )
        found.append(arrays(made.layers))
    for path, array in found[0].items():
        np.testing.assert_allclose(found[1][path], array, atol=2e-5, err_msg=path)


def truth_outputs(task, rows):
    """What a network would say that knows the truth."""
    targets = task.encode(rows)
    outputs = np.full((len(rows), len(task.anchors), task.units), -12.0, np.float32)
    outputs[..., :4] = targets[..., :4]
    image, place = np.nonzero(targets[..., 4] >= 0)
    outputs[image, place, 4 + targets[image, place, 4].astype(int)] = 12.0
    return outputs


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("resize", ["pad", "stretch"])
def test_outputs_made_of_the_truth_score_1(backbone, kind, resize):
    # Files of another shape than the network's: boxes go there and back.
    random = np.random.default_rng(0)
    sizes = random.integers(60, 200, (8, 2))
    boxes, classes = [], []
    for height, width in sizes:
        # Quarters of the image, so that no object is a copy of another.
        corners = np.array([[0, 0], [1, 0], [0, 1]]) * [width / 2, height / 2]
        low = corners + random.uniform(0.02, 0.1, (3, 2)) * [width, height]
        sides = random.uniform(0.2, 0.38, (3, 2)) * [width, height]
        count = int(random.integers(0, 4))
        boxes.append(np.concatenate([low, low + sides], axis=1)[:count])
        classes.append(random.integers(0, 2, count))
    labels = Boxes(boxes, classes, NAMES, sizes)
    model = build(backbone, labels, kind=kind, resize=resize)
    task = bind(model).task
    rows = labels.rows(np.arange(8), image_size=(SIZE, SIZE), resize=resize)
    outputs = truth_outputs(task, rows)
    targets = DenseTargets(labels, (SIZE, SIZE), resize, task.encode)
    assert task.epoch_scores(targets, outputs) == {"ap50": 1.0}
    none = Boxes([[]] * 8, [[]] * 8, NAMES, sizes)
    assert not task.epoch_scores(replace(targets, labels=none), outputs)
    decoded = task.decode(outputs)
    said = task.predictions(task.placed(decoded, sizes.tolist(), resize))
    report = task.report(labels, said)
    assert report.ap == 1.0
    assert (report.missed, report.invented) == (0, 0)
    assert report.found == sum(map(len, boxes))
    for told, true in zip(said.boxes, labels.boxes, strict=True):
        order = np.argsort(told[:, 0]), np.argsort(true[:, 0])
        np.testing.assert_allclose(told[order[0]], true[order[1]], atol=0.01)


def test_an_image_twice_as_large_gives_boxes_twice_as_large(trained, tmp_path):
    model = trained[0]
    pixels = make_shapes(1, image_size=SIZE, objects=3, classes=NAMES)[0].images[0]
    path = tmp_path / "wide.png"
    Image.fromarray(pixels).resize((SIZE, SIZE // 2)).save(path)
    rows = load_pixels(
        kerastl.ImageSet((str(path),), None), image_size=SIZE, resize="pad"
    )
    task = bind(model).task
    decoded = task.decode(np.repeat(model.predict_on_batch(rows), 2, axis=0))
    sizes = [(SIZE // 2, SIZE), (SIZE, 2 * SIZE)]
    small, large = task.placed(decoded, sizes, "pad")
    np.testing.assert_allclose(large[0], 2 * small[0], rtol=1e-5, atol=1e-4)
    for one, other in zip(small[1:], large[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    found = kerastl.predict(model, path)
    assert len(found.boxes[0])
    np.testing.assert_allclose(found.boxes[0], small[0], rtol=1e-4, atol=1e-3)


def test_a_mirror_image_gives_mirrored_boxes(model):
    task = bind(model).task
    random = np.random.default_rng(0)
    outputs = random.normal(size=(2, len(task.anchors), task.units))
    decoded = task.decode(outputs)
    twice = task.mirrored(task.mirrored(decoded))
    np.testing.assert_allclose(twice, decoded, atol=1e-4)
    # An anchor's own box, mirrored, is that of the anchor at the mirrored cell.
    zeros = task.decode(np.zeros_like(outputs))
    np.testing.assert_allclose(task.mirrored(zeros), zeros, atol=1e-4)


def test_two_views_are_the_image_and_its_mirror(trained, shapes):
    once = kerastl.predict(trained[0], shapes[1].images)
    turned = shapes[1].images[:, :, ::-1]
    both, other = (
        kerastl.predict(trained[0], images, views=2, augment="light")
        for images in (shapes[1].images, turned)
    )
    assert any(map(len, once.boxes))
    for a, b, one in zip(both.scores, other.scores, once.scores, strict=True):
        # The order of equal ones may differ, and with it which of two boxes stays.
        np.testing.assert_allclose(a[0], b[0], rtol=1e-4)
        assert a[0] != one[0]


def test_the_report_is_a_table_and_json(trained, shapes):
    report = kerastl.evaluate(trained[0], shapes[1])
    data = json.loads(json.dumps(report.to_dict()))
    assert data["task"] == "detection"
    assert data["objects"] == sum(map(len, shapes[1].labels.boxes))
    assert data["found"] + data["missed"] == data["objects"]
    assert [row["name"] for row in data["per_class"]] == list(NAMES)
    text = str(report)
    assert "AP50" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_predicted_can_be_read_as_labels(trained, shapes, tmp_path):
    paths = []
    for number, pixels in enumerate(shapes[1].images):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    told = kerastl.predict(trained[0], list(map(str, paths))).above(0.001)
    assert any(map(len, told.boxes))
    rows = list(told)
    assert rows[0]["path"] == str(paths[0])
    first = next(row["objects"][0] for row in rows if row["objects"])
    assert first.keys() == {"name", "score", "box"}
    told.write(tmp_path)
    train, _, _ = kerastl.load_images(tmp_path, validation=0.0)
    assert train.class_names == NAMES
    for name, boxes in zip(train.paths, train.labels.boxes, strict=True):
        own = told.boxes[int(name.rpartition("/")[2][0])]
        np.testing.assert_allclose(boxes, own, atol=1e-3)


def test_pictures_show_found_missed_and_invented(trained, shapes):
    task = bind(trained[0]).task
    said = kerastl.predict(trained[0], shapes[1])
    figure = task.pictures(shapes[1].labels, said, lambda i: shapes[1].images[i])
    titles = [axis.get_title() for axis in figure["detections"].axes]
    assert any("missed" in title for title in titles)


def test_anchors_that_fit_no_object_are_said(backbone):
    tiny = [[[4, 4, 8, 8]], [[20, 20, 23, 24]]]
    pixels = np.arange(2, dtype="uint8").repeat(SIZE * SIZE * 3)
    images = ImageSet(
        pixels.reshape(2, SIZE, SIZE, 3), Boxes(tiny, [[0], [1]], NAMES, (SIZE, SIZE))
    )
    made = build(backbone, anchors=plain_anchors(SIZE))
    with pytest.warns(UserWarning, match=r"overlaps by half: circle 0%, square 0%"):
        bind(made).task.check_set(images, "train")
    fitted = build(backbone, images, anchors=fit_anchors(images, image_size=SIZE))
    assert fitted.output_shape[1] == 3 * (8 * 8 + 4 * 4 + 2 * 2)


def test_a_task_is_plain_json(ssd):
    task = bind(ssd).task
    config = json.loads(json.dumps(task.to_config()))
    assert DetectionTask.from_config(config) == task
    assert "labels" not in config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "ssdd"}, "Did you mean 'ssd'"),
        ({"anchors": "fitted"}, "'auto' or kerastl.tasks.Anchors"),
        ({"anchors": plain_anchors(96)}, "Fit them for the size"),
        ({"levels": (3, 5)}, "without a gap"),
        ({"levels": (0, 1, 2)}, "at least 1"),
        ({"kind": "yolo", "anchors": plain_anchors(SIZE)}, "'auto' for kind='yolo'"),
        ({"classes": []}, "at least one name"),
    ],
)
def test_wrong_arguments_are_one_sentence(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        build(backbone, **{"classes": NAMES, **options})


def test_images_without_boxes_are_refused(ssd, shapes):
    plain = ImageSet(shapes[0].images, np.zeros(12, int), ("a",))
    with pytest.raises(ValueError, match="images with boxes"):
        kerastl.evaluate(ssd, plain)
    with pytest.raises(ValueError, match="images with boxes"):
        kerastl.build_detector("MobileNet", plain)
    renamed = Boxes([[]], [[]], ("x", "y"), (SIZE, SIZE))
    other = ImageSet(shapes[0].images[:1], renamed)
    with pytest.raises(ValueError, match="model's classes"):
        kerastl.evaluate(ssd, other)


def test_unfreezing_opens_what_it_says(ssd, shapes):
    names = {layer.name for layer in encoder(ssd)}
    kerastl.unfreeze(ssd, "conv_pw_13")
    opened = {layer.name for layer in ssd.layers if layer.trainable_weights}
    opened &= names
    assert "conv_pw_13" in opened
    assert not opened & {"conv_pw_11", "conv_pw_1"}
    kerastl.freeze(ssd)
    assert not [w for layer in encoder(ssd) for w in layer.trainable_weights]
