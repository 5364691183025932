"""Exports: what other runtimes answer is what the model answers, or there is none."""

import base64
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import (
    CLASSES,
    grey_classifier,
    outputs,
    pixels,
    small_classifier,
    small_network,
    teach_head,
)
from PIL import Image

import kerastl
from kerastl.export import export_model, exporting, formats
from kerastl.models.record import set_operating, set_temperature, uncalibrated
from kerastl.tasks.task import bind

ROOT = Path(__file__).parents[2]
FORMATS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not all(map(find_spec, found.modules)), reason="needs the extra `export`"
        ),
    )
    for name, found in formats.FORMATS.items()
]
ONNX = FORMATS[0].marks
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tests what this process writes"
)
IMAGES = pixels(5, seed=3)


def answers(folder, images):
    """What an artifact says, run by nothing of kerastl."""
    said = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    path, given = str(folder / said["file"]), images.astype("float32")
    if said["format"] == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return session.run(None, {session.get_inputs()[0].name: given})[0]
    if said["format"] == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(path).get_signature_runner()
        [name] = runner.get_input_details()
        rows = [next(iter(runner(**{name: row[None]}).values())) for row in given]
        return np.concatenate(rows)
    if said["format"] == "openvino":
        import openvino

        # Where the processor has bfloat16, OpenVINO would round to three digits.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        return openvino.compile_model(path, "CPU", exact)(given)[0]
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return loaded.serve(tf.constant(given)).numpy()


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("name", FORMATS)
def test_an_artifact_answers_as_the_model(name, tmp_path):
    model = small_classifier(learnt=True)
    set_temperature(model, 2.5)
    report = export_model(model, tmp_path / "out", format=name)
    set_temperature(model, 1.0)
    expected = softmax(outputs(model, IMAGES) / 2.5)
    assert np.ptp(expected, axis=0).min() > 0.05
    np.testing.assert_allclose(answers(tmp_path / "out", IMAGES), expected, atol=1e-5)
    assert report.difference < 1e-4
    # OpenVINO would report over the network that it was imported.
    assert "openvino_telemetry" not in sys.modules
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert said["class_names"] == list(CLASSES)
    assert said["temperature"] == {"value": 2.5, "inside": True}
    wanted = ("height", "width", "channels", "range", "resize")
    assert [said["input"][key] for key in wanted] == [
        16,
        16,
        "RGB",
        [0, 255],
        "stretch",
    ]
    files = {
        str(path.relative_to(tmp_path / "out")): path
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != "model.json"
    }
    sums = {
        key: hashlib.sha256(path.read_bytes()).hexdigest()
        for key, path in files.items()
    }
    assert said["files"] == sums
    assert report.bytes == sum(path.stat().st_size for path in files.values())


@on_tensorflow
def test_nobody_is_told_where_the_draft_was(monkeypatch, tmp_path):
    logger, told = logging.getLogger("tensorflow"), []
    monkeypatch.setattr(logger, "level", logging.INFO)
    monkeypatch.setattr(logger, "handle", told.append)
    export_model(small_classifier(learnt=True), tmp_path / "out", format="savedmodel")
    assert told == []
    assert logger.level == logging.INFO


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "backbone", ["MobileNet", "MobileNetV2", "ResNet50", "EfficientNetV2B0"]
)
@pytest.mark.slow
def test_networks_of_four_families_round_trip(backbone, name, tmp_path):
    network = kerastl.build_backbone(backbone, image_size=32, weights=None)
    model = kerastl.build_classifier(network, CLASSES)
    teach_head(model)
    export_model(model, tmp_path / "out", format=name)
    found, expected = (
        answers(tmp_path / "out", pixels(4, 32)),
        softmax(outputs(model, pixels(4, 32)).astype("float64")),
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("name", FORMATS[:1])
def test_constants_of_the_network_are_constants(name, tmp_path):
    model = small_classifier(
        extra=keras.layers.Normalization(mean=0.3, variance=4.0), learnt=True
    )
    [layer] = [x for x in model.layers if isinstance(x, keras.layers.Normalization)]
    before = layer.mean
    export_model(model, tmp_path / "out", format=name)
    expected = softmax(outputs(model, IMAGES))
    np.testing.assert_allclose(answers(tmp_path / "out", IMAGES), expected, atol=1e-5)
    assert layer.mean is before


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_yes_and_no_are_probabilities(task, tmp_path):
    names = CLASSES[:2] if task == "binary" else CLASSES
    model = small_classifier(names, task=task, learnt=True)
    export_model(model, tmp_path / "out", format="savedmodel")
    yes = sigmoid(outputs(model, IMAGES))
    expected = np.concatenate([1 - yes, yes], axis=1) if task == "binary" else yes
    np.testing.assert_allclose(answers(tmp_path / "out", IMAGES), expected, atol=1e-5)


def test_the_threshold_of_two_classes_is_said(tmp_path):
    model = small_classifier(CLASSES[:2], task="binary", learnt=True)
    set_operating(model, {"threshold": 0.25, "aim": {}, "images": ["secret"]})
    export_model(model, tmp_path / "out", format="savedmodel")
    text = (tmp_path / "out" / "model.json").read_text(encoding="utf-8")
    assert json.loads(text)["threshold"] == 0.25
    assert "secret" not in text


def test_numbers_come_in_their_own_units(tmp_path):
    ages = np.array([20.0, 40.0, 90.0])
    model = kerastl.build_regressor(small_network(), ages, preprocessing="tf")
    teach_head(model)
    export_model(model, tmp_path / "out", format="savedmodel")
    found = answers(tmp_path / "out", IMAGES)
    assert np.ptp(found) > 1
    expected = kerastl.predict(model, IMAGES).values
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def drawn(model, seed=0):
    """The same model with every kernel drawn far enough from zero."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.ndim > 1:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def test_a_segmenter_gives_probabilities_of_each_pixel(tmp_path):
    network = small_network(size=32)
    model = drawn(
        kerastl.build_segmenter(network, ("a", "b"), width=8, preprocessing="tf")
    )
    export_model(model, tmp_path / "out", format="savedmodel")
    images = pixels(2, 32)
    found = answers(tmp_path / "out", images)
    assert found.shape == (2, 32, 32, 2)
    np.testing.assert_allclose(found, softmax(outputs(model, images)), atol=1e-4)
    masks = kerastl.predict(model, images).masks
    np.testing.assert_array_equal(found.argmax(axis=-1), np.stack(masks))


def detector(kind):
    network = small_network(size=64)
    options = {"levels": (2, 3), "width": 8, "preprocessing": "tf"}
    return kerastl.build_detector(network, ("a", "b"), kind=kind, **options)


@pytest.mark.parametrize("kind", ["ssd", "retinanet", "yolo"])
def test_boxes_and_scores_in_the_network_are_those_of_decode(kind):
    task = bind(detector(kind)).task
    shape = (2, len(task.anchors.boxes), task.units)
    found = np.random.default_rng(0).normal(0, 3, shape).astype("float32")
    # Sides that would grow without bound, and logits that are sure.
    found[0, 0, :4], found[0, 1, 4:] = 50, (60, -60)
    inside = task.answers(keras.ops.convert_to_tensor(found))
    inside = keras.ops.convert_to_numpy(inside)
    np.testing.assert_allclose(inside, task.decode(found), rtol=1e-4, atol=1e-4)


def test_a_detector_gives_boxes_and_scores(tmp_path):
    model = drawn(detector("ssd"))
    export_model(model, tmp_path / "out", format="savedmodel")
    images = pixels(2, 64)
    found = answers(tmp_path / "out", images)
    expected = bind(model).task.decode(outputs(model, images))
    np.testing.assert_allclose(found[..., :4], expected[..., :4], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], atol=1e-4)
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert said["output"] == {"boxes": [0, 4], "scores": [4, None]}


# ------------------------------------------------------------------ the gate


def refused(model, folder, words="differ|agree", **options):
    """The export must fail, and leave nothing behind."""
    with pytest.raises(ValueError, match=words) as found:
        export_model(model, folder, format="savedmodel", **options)
    assert not folder.exists()
    assert not [path for path in folder.parent.iterdir() if path.name != "keep"]
    return str(found.value)


def planted(monkeypatch, change):
    """Let what is exported differ from the model by `change` of its pixels."""
    right = formats.answering

    def wrong(bound):
        model = right(bound)
        pixels = keras.Input(model.input_shape[1:])
        return keras.Model(pixels, model(change(pixels)))

    monkeypatch.setattr(formats, "answering", wrong)


@on_tensorflow
def test_swapped_channels_are_refused(monkeypatch, tmp_path):
    planted(monkeypatch, lambda x: x[..., ::-1])
    message = refused(small_classifier(learnt=True), tmp_path / "out")
    assert "of their range away" in message


@on_tensorflow
def test_another_range_of_pixels_is_refused(monkeypatch, tmp_path):
    planted(monkeypatch, lambda x: x / 255.0)
    refused(small_classifier(learnt=True), tmp_path / "out")


@on_tensorflow
def test_a_forgotten_temperature_is_refused(monkeypatch, tmp_path):
    model, right = small_classifier(learnt=True), formats.write
    set_temperature(model, 1.3)

    def wrong(bound, *given):
        with uncalibrated(bound.model):
            right(bound, *given)

    monkeypatch.setattr(exporting, "write", wrong)
    refused(model, tmp_path / "out")


@pytest.mark.parametrize("policy", ["crop", "pad"])
def test_another_policy_of_resizing_is_refused(policy, monkeypatch, tmp_path):
    right = exporting._sidecar

    def wrong(bound, name):
        said = right(bound, name)
        return said | {"input": said["input"] | {"resize": policy}}

    monkeypatch.setattr(exporting, "_sidecar", wrong)
    refused(small_classifier(learnt=True), tmp_path / "out")


def test_a_head_of_zeros_cannot_be_compared(tmp_path):
    words = refused(small_classifier(), tmp_path / "out", "differ between images")
    assert "train its head" in words


class BrighterBySeven(keras.layers.Layer):
    """Changes batches of seven."""

    def call(self, inputs):
        seven = keras.ops.equal(keras.ops.shape(inputs)[0], 7)
        return inputs + 40.0 * keras.ops.cast(seven, "float32")


@on_tensorflow
def test_what_is_wrong_in_one_size_of_batch_is_refused(monkeypatch, tmp_path):
    planted(monkeypatch, BrighterBySeven())
    refused(small_classifier(learnt=True), tmp_path / "out")


def test_a_killed_export_leaves_nothing(monkeypatch, tmp_path):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "write", die)
    with pytest.raises(KeyboardInterrupt):
        export_model(
            small_classifier(learnt=True), tmp_path / "out", format="savedmodel"
        )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model = small_classifier(learnt=True)
    with pytest.raises(ValueError, match="new or empty folder"):
        export_model(model, tmp_path, format="savedmodel")
    export_model(model, tmp_path, format="savedmodel", overwrite=True)
    teach_head(model, seed=1)
    export_model(model, tmp_path, format="savedmodel", overwrite=True)
    expected = softmax(outputs(model, IMAGES))
    np.testing.assert_allclose(answers(tmp_path, IMAGES), expected, atol=1e-5)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# -------------------------------------------------------- what cannot be written


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'kerastl\[export\]'"):
        export_model(small_classifier(learnt=True), tmp_path / "out", format="onnx")


def test_other_bands_than_files_hold_are_refused(tmp_path):
    network = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None, channels=5
    )
    model = kerastl.build_classifier(network, CLASSES)
    refused(model, tmp_path / "out", "RGB or grey")


@on_tensorflow
@pytest.mark.parametrize("name", FORMATS[:1])
def test_half_precision_is_for_savedmodel(name, tmp_path):
    model = small_classifier(learnt=True, precision="mixed_bfloat16")
    with pytest.raises(ValueError, match="float32 for onnx"):
        export_model(model, tmp_path / "out", format=name)
    export_model(model, tmp_path / "out", format="savedmodel")
    expected = softmax(outputs(model, IMAGES))
    np.testing.assert_allclose(answers(tmp_path / "out", IMAGES), expected, atol=1e-5)


def test_a_model_of_texts_says_why_not(tmp_path):
    pytest.importorskip("keras_hub")
    from text_sets import NAMES, backbone

    refused(kerastl.build_classifier(backbone(), NAMES), tmp_path / "out", "tokenizer")


@on_tensorflow
def test_a_process_of_its_own_writes_the_same(tmp_path):
    # What another backend does, from here.
    bound = bind(small_classifier(learnt=True))
    formats._write_on_tensorflow(bound, "savedmodel", tmp_path, None)
    run = formats.FORMATS["savedmodel"].open(tmp_path / "saved_model")
    expected = softmax(outputs(bound.model, IMAGES))
    np.testing.assert_allclose(run(IMAGES.astype("float32")), expected, atol=1e-5)


# ------------------------------------------------------------------ eight bits

IN_INT8 = [each for each in FORMATS if each.values[0] in ("onnx", "litert")]


def photos(count=60, seed=0):
    """Images in three colours, and which."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 40, (count, 16, 16, 3))
    images[np.arange(count), :, :, labels] += 200
    return images.astype("uint8"), labels


def separating():
    """A classifier that tells the colours of `photos` apart, with room to spare."""
    model, (images, labels) = small_classifier(), photos()
    dense = model.get_layer("head_dense")
    features = outputs(keras.Model(model.input, dense.input), images)
    center = features.mean(axis=0)
    aims = 8.0 * (np.eye(3)[labels] - 1 / 3)
    kernel = np.linalg.lstsq(features - center, aims, rcond=1e-3)[0]
    dense.set_weights([kernel, -center @ kernel])
    assert (outputs(model, images).argmax(axis=1) == labels).mean() > 0.9
    return model


def assert_whole_bits(folder, name):
    """Between input and output, numbers are of 8 or 32 whole bits."""
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(folder / "model.tflite"))
        ends = [*runner.get_input_details(), *runner.get_output_details()]
        kinds = [
            each["dtype"]
            for each in runner.get_tensor_details()
            if each["index"] not in {end["index"] for end in ends}
        ]
        assert np.int8 in kinds
        assert np.float32 not in kinds
        return
    import onnx

    graph = onnx.load(folder / "model.onnx").graph
    made = {out: node.op_type for node in graph.node for out in node.output}
    heavy = [n for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(heavy) == 4
    for node in heavy:
        assert [made[x] for x in node.input[:2]] == ["DequantizeLinear"] * 2


@pytest.mark.parametrize("name", IN_INT8)
def test_activations_are_of_eight_bits_and_decide_alike(name, tmp_path):
    model, (images, labels) = separating(), photos()
    labels[:4] = (labels[:4] + 1) % 3
    known = kerastl.ImageSet(images, labels, CLASSES)
    options = {"quantize": "int8", "calibration": known, "min_agreement": 0.8}
    report = export_model(model, tmp_path / "out", format=name, **options)
    assert_whole_bits(tmp_path / "out", name)
    found = answers(tmp_path / "out", images[1::2])
    own = softmax(outputs(model, images[1::2]))
    assert np.abs(found - own).max() > 1e-4  # It is rounded.
    same = int((found.argmax(axis=1) == own.argmax(axis=1)).sum())
    kept = report.agreement
    assert (kept["images"], kept["same"]) == (30, same)
    for key, answer in (("accuracy", own), ("int8_accuracy", found)):
        right = (answer.argmax(axis=1) == labels[1::2]).mean()
        low, high = kerastl.metrics.wilson_interval(round(30 * right), 30)
        np.testing.assert_allclose(kept[key], (right, low, high))
    assert "the same decision on" in str(report)
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert said["parity"]["agreement"]["same"] == same


@pytest.mark.parametrize("name", IN_INT8)
def test_other_images_calibrate_otherwise(name, tmp_path):
    bound, files = bind(separating()), []
    for number, images in enumerate((photos()[0][:20], photos()[0][:20] // 8)):
        place = tmp_path / str(number)
        place.mkdir()
        formats.write(bound, name, place, images)
        files.append((place / formats.FORMATS[name].file).read_bytes())
    assert files[0] != files[1]


@on_tensorflow
@pytest.mark.parametrize("name", IN_INT8[:1])
def test_int8_that_decides_otherwise_is_refused(name, monkeypatch, tmp_path):
    right = formats.write

    def wrong(bound, name, folder, calibration):
        # Ranges of nearly black images cut off what bright ones need.
        dark = None if calibration is None else calibration // 100
        right(bound, name, folder, dark)

    monkeypatch.setattr(exporting, "write", wrong)
    options = {"format": name, "quantize": "int8", "calibration": photos()[0]}
    with pytest.raises(ValueError, match=r"alike on 95% .* of 30 images"):
        export_model(separating(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    options["min_agreement"] = 0.0
    report = export_model(separating(), tmp_path / "out", **options)
    assert report.agreement["same"] < 29


def test_what_int8_needs_is_said(tmp_path):
    model = small_classifier(learnt=True)
    cases = [
        ({"quantize": "int8"}, "None for this format"),
        ({"calibration": IMAGES}, "left out without"),
        ({"quantize": "int4"}, "one of 'int8'"),
    ]
    for options, words in cases:
        with pytest.raises(ValueError, match=words):
            export_model(model, tmp_path / "out", format="savedmodel", **options)


@pytest.mark.parametrize("name", IN_INT8[:1])
def test_too_few_images_to_calibrate_by_are_refused(name, tmp_path):
    model = small_classifier(learnt=True)
    for given, words in ((None, "like those to come"), (IMAGES, "at least 20 images")):
        options = {"format": name, "quantize": "int8", "calibration": given}
        with pytest.raises(ValueError, match=words):
            export_model(model, tmp_path / "out", **options)
    numbers = kerastl.build_regressor(small_network(), [1.0, 3.0], preprocessing="tf")
    options["calibration"] = photos()[0]
    with pytest.raises(ValueError, match="regression task"):
        export_model(numbers, tmp_path / "out", **options)


# ------------------------------------------------------------------ clients


def probe_image(probe):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(probe["png"]))))


def test_the_probes_are_what_predict_says_of_these_images(tmp_path):
    model = small_classifier(learnt=True, resize="crop")
    export_model(model, tmp_path / "out", format="savedmodel")
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    files = []
    for number, probe in enumerate(said["probes"]):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(base64.b64decode(probe["png"]))
        height, width = probe_image(probe).shape[:2]
        assert height != width
    expected = kerastl.predict(model, files).probabilities
    np.testing.assert_allclose(
        [p["answer"] for p in said["probes"]], expected, atol=1e-6
    )
    assert np.ptp(expected, axis=0).max() > 0.1


def test_grey_images_are_answered_as_predict_does(tmp_path):
    model = grey_classifier()
    export_model(model, tmp_path / "out", format="savedmodel")
    grey = pixels(4, 32)[..., :1]
    found = answers(tmp_path / "out", grey)
    assert np.ptp(found, axis=0).max() > 0.02
    expected = kerastl.predict(model, grey).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert said["input"]["channels"] == "grey"


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_the_client_prepares_images_as_kerastl_does(
    resize, channels, tmp_path, monkeypatch
):
    from kerastl.data.images import PixelStore

    monkeypatch.syspath_prepend(ROOT / "examples")
    import export_client

    rng = np.random.default_rng(0)
    sizes, files = [(16, 24), (40, 31), (7, 90), (33, 32), (5, 5), (201, 77)], []
    for number, size in enumerate(sizes):
        files.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype("uint8")).save(
            files[-1]
        )
    store = PixelStore(
        kerastl.ImageSet(tuple(files), None, ()),
        image_size=(16, 24),
        resize=resize,
        channels=channels,
    )
    wanted = {"height": 16, "width": 24, "resize": resize}
    wanted["channels"] = {1: "grey", 3: "RGB"}[channels]
    found = np.stack([export_client.prepare(file, wanted) for file in files])
    np.testing.assert_array_equal(found, store.rows(np.arange(len(files))))


@pytest.mark.skipif(not all(map(find_spec, ("onnxruntime", "tf2onnx"))), reason="extra")
def test_the_client_reproduces_the_probes_without_kerastl(tmp_path):
    model = small_classifier(learnt=True, resize="pad")
    export_model(model, tmp_path / "out", format="onnx")
    script = (
        "import sys; sys.modules['kerastl'] = sys.modules['keras'] = None\n"
        "import export_client, numpy, json\n"
        f"found = export_client.main({str(tmp_path / 'out')!r})\n"
        "print(json.dumps(found.tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "examples",
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ""},
    )
    said = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    expected = [probe["answer"] for probe in said["probes"]]
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_command(tmp_path, capsys):
    from kerastl.cli.program import main

    kerastl.save_model(small_classifier(learnt=True), tmp_path / "model.keras")
    words = ["export", str(tmp_path / "model.keras"), "--format", "savedmodel"]
    words += ["-o", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["path"] == str(tmp_path / "out")
    assert record["format"] == "savedmodel"
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("name", IN_INT8[:1])
def test_the_command_measures_accuracy_where_there_are_class_folders(
    name, tmp_path, capsys
):
    from kerastl.cli.program import main

    kerastl.save_model(separating(), tmp_path / "model.keras")
    for number, (image, label) in enumerate(zip(*photos(), strict=True)):
        place = tmp_path / "photos" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    words = ["export", str(tmp_path / "model.keras"), "--format", name, "--json"]
    words += ["--quantize", "int8", "--min-agreement", "0.5", "--calibration"]
    for folder, known in (("photos", True), ("photos/ash", False)):
        out = tmp_path / f"out-{known}"
        status = main([*words, str(tmp_path / folder), "-o", str(out)])
        assert status == 0, capsys.readouterr().err
        kept = json.loads(capsys.readouterr().out.splitlines()[-1])["agreement"]
        assert kept["images"] == (30 if known else 10)
        assert ("int8_accuracy" in kept) == known


@pytest.mark.parametrize(
    ("before", "within"),
    [(logging.DEBUG, logging.WARNING), (logging.ERROR, logging.ERROR)],
)
def test_tensorflow_is_never_louder_while_it_writes(before, within):
    logger = logging.getLogger("tensorflow")
    own = logger.level
    logger.setLevel(before)
    try:
        with formats._quiet_writer():
            assert logger.level == within
        assert logger.level == before
    finally:
        logger.setLevel(own)
