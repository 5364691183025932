"""Predictions: in order, of every kind of input, and the same in any company."""

import keras
import numpy as np
import pytest
from networks import (
    CLASSES,
    assert_same_weights,
    outputs,
    pixels,
    small_classifier,
    small_network,
    values,
)
from PIL import Image
from scipy.special import expit, softmax

import kerastl
from kerastl.tasks.classification import LabelPredictions, Predictions

TABLE = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return small_classifier(learnt=True)


@pytest.fixture
def folder(tmp_path):
    """Twelve files whose natural order is not the alphabet's, one folder deeper."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    for number, image in enumerate(pixels(12)):
        deeper = "more" if number > 9 else "."
        Image.fromarray(image).save(place / deeper / f"{number}.png")
    return place


def probabilities(model, inputs, **options):
    return kerastl.predict(model, inputs, **options).probabilities


def test_probabilities_are_the_softmax_of_the_logits(model):
    made = probabilities(model, pixels())
    by_hand = softmax(outputs(model, pixels()).astype("float64"), axis=1)
    np.testing.assert_allclose(made, by_hand, rtol=1e-4, atol=1e-6)


def test_binary_probabilities_are_two_columns():
    model = small_classifier(["no", "yes"], task="binary", learnt=True)
    made = kerastl.predict(model, pixels())
    yes = expit(outputs(model, pixels())[:, 0].astype("float64"))
    np.testing.assert_allclose(made.probabilities[:, 1], yes, rtol=1e-4)
    assert made.labels == tuple("yes" if p > 0.5 else "no" for p in yes)


def test_multilabel_predictions_are_tuples_of_names():
    model = small_classifier(task="multilabel", learnt=True)
    made = kerastl.predict(model, pixels())
    yes = outputs(model, pixels()) >= 0
    names = [tuple(np.array(CLASSES)[row]) for row in yes]
    assert list(made.labels) == names


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_the_batch_size_does_not_matter(model, batch_size):
    np.testing.assert_allclose(
        probabilities(model, pixels(9), batch_size=batch_size),
        probabilities(model, pixels(9)),
        rtol=1e-4,
        atol=1e-6,
    )


def test_an_image_gets_the_same_answer_alone(model):
    alone = [probabilities(model, image)[0] for image in pixels()]
    np.testing.assert_allclose(
        alone, probabilities(model, pixels()), rtol=1e-4, atol=1e-6
    )


def test_a_folder_is_read_in_natural_order(model, folder):
    made = kerastl.predict(model, folder)
    assert [path.rsplit("/", 1)[-1] for path in made.paths] == [
        f"{number}.png" for number in range(12)
    ]
    np.testing.assert_allclose(
        made.probabilities, probabilities(model, pixels(12)), rtol=1e-4, atol=1e-6
    )


def test_files_come_in_the_order_given(model, folder):
    files = [folder / "3.png", str(folder / "1.png"), folder / "3.png"]
    made = kerastl.predict(model, files)
    assert made.paths == tuple(map(str, files))
    np.testing.assert_allclose(
        made.probabilities,
        probabilities(model, pixels(12)[[3, 1, 3]]),
        rtol=1e-4,
        atol=1e-6,
    )


def inputs_of_every_kind(folder):
    image = pixels(12)[0]
    return {
        "file": str(folder / "0.png"),
        "path": folder / "0.png",
        "array": image,
        "float array": image.astype("float64"),
        "batch": image[None],
        "pil": Image.fromarray(image),
        "list of pil": [Image.fromarray(image)],
        "list of arrays": [image],
        "set": kerastl.ImageSet(image[None], None, ()),
    }


def test_one_image_gets_one_answer_in_every_form(model, folder):
    wanted = probabilities(model, pixels(12)[:1])
    for kind, inputs in inputs_of_every_kind(folder).items():
        made = probabilities(model, inputs)
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-6, err_msg=kind)


def deep(folder):
    depth = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype("uint16")
    Image.fromarray(depth).save(folder / "deep.png")
    return folder / "deep.png"


def on_its_side(folder):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(pixels()[0]).save(folder / "side.png", exif=tags)
    return folder / "side.png"


@pytest.mark.parametrize("write", [deep, on_its_side])
def test_an_opened_file_is_read_as_the_file(model, tmp_path, write):
    path = write(tmp_path)
    with Image.open(path) as opened:
        made = probabilities(model, opened)
    wanted = probabilities(model, path)
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-6)


def test_images_of_several_sizes_and_kinds_go_together(model):
    gray = np.full((9, 30), 80, "uint8")
    images = [
        Image.fromarray(pixels()[0]),
        gray,
        np.dstack([gray] * 3 + [np.full_like(gray, 255)]),
    ]
    made = probabilities(model, images)
    np.testing.assert_allclose(made[1], made[2], rtol=1e-5)
    np.testing.assert_allclose(
        made[0], probabilities(model, pixels()[0])[0], rtol=1e-4, atol=1e-6
    )


def test_gray_images_are_repeated_to_three_channels(model):
    gray = pixels()[..., 0]
    colour = np.repeat(gray[..., None], 3, axis=-1)
    expected = probabilities(model, colour)
    np.testing.assert_array_equal(probabilities(model, gray[..., None]), expected)
    with pytest.warns(UserWarning, match="read as 6 gray images of 16 x 16"):
        np.testing.assert_array_equal(probabilities(model, gray), expected)


def test_images_are_resized_as_in_training():
    wide = np.random.default_rng(0).integers(0, 256, (16, 64, 3)).astype("uint8")
    models = {r: small_classifier(resize=r, learnt=True) for r in ("crop", "stretch")}
    models["stretch"].set_weights(models["crop"].get_weights())
    middle, whole = wide[:, 24:40], np.asarray(Image.fromarray(wide).resize((16, 16)))
    wanted = probabilities(models["crop"], np.stack([middle, whole]))
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    made = probabilities(models["crop"], wide)
    np.testing.assert_allclose(made[0], wanted[0], rtol=1e-4)
    made = probabilities(models["stretch"], wide)
    assert np.abs(made[0] - wanted[1]).max() < np.abs(made[0] - wanted[0]).max()


def test_predicting_changes_no_weight():
    model = small_classifier(learnt=True)
    kerastl.unfreeze(model, "all", batch_norm="train")
    before = values(model)
    first, second = (probabilities(model, pixels()) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert_same_weights(model, before)


@pytest.mark.parametrize("high", [1.0, 0.5])
def test_pixels_from_0_to_1_are_refused(model, high):
    with pytest.raises(ValueError, match=r"pixels 0-255.*Multiply by 255"):
        kerastl.predict(model, pixels() / 255.0 * high)


def test_dark_bytes_are_pixels(model):
    with pytest.warns(UserWarning, match="No pixel is above 1"):
        assert len(kerastl.predict(model, np.ones((2, 16, 16, 3), "uint8"))) == 2
    assert len(kerastl.predict(model, np.full((2, 16, 16, 3), 2, "uint8"))) == 2


@pytest.mark.parametrize(
    ("inputs", "error", "sentence"),
    [
        ([], ValueError, "`inputs` must be files, folders"),
        (np.zeros((0, 16, 16, 3), "uint8"), ValueError, "at least one image"),
        (kerastl.ImageSet((), None, ()), ValueError, "at least one image"),
        (7, TypeError, "`inputs` must be files, folders.*'int'"),
        ([7], TypeError, "`inputs` must be files, folders.*'int'"),
        ({"a": 1}, TypeError, "'dict'"),
        ("nowhere.jpg", FileNotFoundError, "files that exist.*'nowhere.jpg'"),
        ("", FileNotFoundError, "files that exist. Received: inputs=''"),
    ],
)
def test_inputs_that_are_no_images_are_refused(model, inputs, error, sentence):
    with pytest.raises(error, match=sentence):
        kerastl.predict(model, inputs)


def test_a_damaged_file_is_named(model, folder):
    (folder / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"bad\.png"):
        kerastl.predict(model, folder)


@pytest.fixture
def partly_bad(tmp_path):
    """Six files of two classes, three of which cannot be read, each otherwise."""
    from PIL import Image

    for number, image in enumerate(pixels(6)):
        place = tmp_path / "photos" / ("ash", "beech")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    files = sorted((tmp_path / "photos").rglob("*.png"))
    files[0].write_bytes(b"nope")
    files[3].write_bytes(files[3].read_bytes()[:60])
    files[4].write_bytes(b"")
    return tuple(map(str, files)), [1, 2, 5]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("views", [1, 3])
def test_bad_files_are_left_out_of_predictions_and_said(
    model, partly_bad, batch_size, views
):
    files, kept = partly_bad
    options = {"batch_size": batch_size, "views": views}
    with pytest.warns(UserWarning, match=r"Left out 3 images.*0\.png \(not an image"):
        found = kerastl.predict(model, files, on_bad="skip", **options)
    assert found.paths == tuple(files[i] for i in kept)
    assert found.left_out == tuple(files[i] for i in (0, 3, 4))
    # Random views follow from an image's place among the inputs.
    whole = pixels(6)[[0, 2, 4, 1, 3, 5]]
    wanted = kerastl.predict(model, whole, **options).probabilities
    np.testing.assert_allclose(found.probabilities, wanted[kept], rtol=1e-6)


def test_bad_files_are_left_out_of_scores(model, partly_bad):
    files, kept = partly_bad
    labels = np.array([0, 0, 0, 1, 1, 1])
    data = kerastl.ImageSet(files, labels, kerastl.class_names(model))
    with pytest.warns(UserWarning, match="Left out 3 images"):
        report = kerastl.evaluate(model, data, on_bad="skip")
    wanted = kerastl.evaluate(model, data.subset(kept))
    assert (report.images, report.accuracy) == (len(kept), wanted.accuracy)
    # In other company an image's probabilities may differ in their last bits.
    scores = {name: pytest.approx(x, rel=1e-5) for name, x in wanted.metrics.items()}
    assert report.metrics == scores


def test_bad_files_are_left_out_of_features(partly_bad):
    files, kept = partly_bad
    data = kerastl.ImageSet(files, None, ())
    options = {"alpha": 0.25, "image_size": 32}
    with pytest.warns(UserWarning, match="Left out 3 images"):
        made = kerastl.features.extract("MobileNet", data, on_bad="skip", **options)
    assert made.paths.tolist() == [files[i] for i in kept]
    good = kerastl.features.extract("MobileNet", data.subset(kept), **options)
    np.testing.assert_allclose(made.features, good.features, rtol=1e-5, atol=1e-5)


def test_files_of_which_none_can_be_read_are_refused(model, partly_bad):
    files = [partly_bad[0][i] for i in (0, 3, 4)]
    with pytest.raises(ValueError, match=r"images of which one can be read.*0\.png"):
        kerastl.predict(model, files, on_bad="skip")
    with pytest.raises(ValueError, match="`on_bad` must be one of"):
        kerastl.predict(model, files, on_bad="drop")


def test_a_folder_without_images_is_named(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"folders with images inside.*empty"):
        kerastl.predict(model, tmp_path / "empty")


def test_a_foreign_model_is_refused():
    with pytest.raises(ValueError, match="built by build_classifier"):
        kerastl.predict(small_network(), pixels())


def test_the_batch_size_is_checked(model):
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        kerastl.predict(model, pixels(), batch_size=0)


def test_progress_counts_images(model):
    told = []
    kerastl.predict(model, pixels(5), batch_size=2, progress=lambda *x: told.append(x))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_labels_and_confidences_are_those_of_the_largest_probability():
    made = Predictions(CLASSES, TABLE)
    assert made.labels == ("beech", "ash", "cedar")
    np.testing.assert_array_equal(made.confidences, [0.5, 0.4, 0.8])
    np.testing.assert_array_equal(made.indices, TABLE.argmax(axis=1))


def test_the_top_classes_are_sorted():
    first, second, _ = Predictions(CLASSES, TABLE).top(2)
    assert first == [("beech", 0.5), ("cedar", 0.3)]
    assert second == [("ash", 0.4), ("beech", 0.4)]


def test_rows_hold_path_label_and_probability():
    rows = list(Predictions(CLASSES, TABLE[:1], ("a.png",)))
    assert rows == [{"path": "a.png", "label": "beech", "probability": 0.5}]
    assert next(iter(Predictions(CLASSES, TABLE)))["path"] is None


def test_multilabel_decisions_are_cut_at_one_half():
    made = LabelPredictions(CLASSES, TABLE, task="multilabel")
    assert made.labels == (("beech",), (), ("cedar",))
    np.testing.assert_array_equal(made.indices, TABLE >= 0.5)
