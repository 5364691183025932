"""Maps of what speaks for a class, against their closed forms."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    outputs,
    pixels,
    small_classifier,
    small_network,
    teach_head,
    values,
)
from scipy import ndimage

import kerastl
from kerastl.evaluation.map_plots import enlarge, lay_over
from kerastl.explain import explain

METHODS = (
    "hirescam",
    "gradcam",
    "gradcam++",
    "scorecam",
    "occlusion",
    "integrated_gradients",
    "smoothgrad",
)
QUICK = {"steps": 4, "samples": 2, "patch": 8, "channels": 2}


def own_model(body, size=8, names=CLASSES):
    """A model of pixels 0-255 whose middle is `body`, with its names."""
    images = keras.Input((size, size, 3), name="pixels")
    logits = layers.Dense(len(names), name="logits")(layers.Flatten()(body(images)))
    model = keras.Model(images, logits, name="own")
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return kerastl.adapt_model(model, list(names))


def linear_model():
    return own_model(lambda images: images)


def convolved():
    """Flatten and Dense on a feature map: no pooling."""

    def body(images):
        return layers.Conv2D(2, 3, activation="relu", padding="same", name="map")(
            images
        )

    return own_model(body)


def kernel_of(model, name="logits"):
    kernel, bias = model.get_layer(name).get_weights()
    return kernel.astype("float64"), bias.astype("float64")


@pytest.fixture(scope="module")
def pooled():
    """Its weights are the same on each backend."""
    model = small_classifier()
    rng = np.random.default_rng(5)
    for weight in model.weights:
        if len(weight.shape) > 1:
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
    teach_head(model)
    return model


def class_activation(model, images, targets):
    """Zhou's map by its own equation: the head's kernel along the feature map."""
    maps = outputs(kerastl.features.truncate(model, "relu3"), images)
    kernel, bias = kernel_of(model, "head_dense")
    cam = np.einsum("nhwk,nk->nhw", maps.astype("float64"), kernel.T[targets])
    return maps, cam, bias[targets]


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_behind_pooling_both_are_the_class_activation_map(method, pooled):
    found = explain(pooled, pixels(), method=method)
    _, cam, bias = class_activation(pooled, pixels(), found.targets)
    places = cam.shape[1] * cam.shape[2]
    assert np.abs(cam).max() > 0.1
    np.testing.assert_allclose(found.raw, cam / places, rtol=1e-4, atol=1e-6)
    total = found.raw.sum(axis=(1, 2)) + bias
    np.testing.assert_allclose(total, found.scores, rtol=1e-4, atol=1e-5)
    assert found.at == "relu3"
    logits = outputs(pooled, pixels())
    np.testing.assert_array_equal(found.targets, logits.argmax(axis=1))
    np.testing.assert_allclose(found.scores, logits.max(axis=1), rtol=1e-5)


def test_without_pooling_only_hirescam_sums_to_the_logit():
    model, images = convolved(), pixels(3, 8)
    bias = kernel_of(model)[1]
    sums = {}
    for method in ("gradcam", "hirescam"):
        found = explain(model, images, method=method)
        assert found.at == "map"
        sums[method] = found.raw.sum(axis=(1, 2)) + bias[found.targets]
    np.testing.assert_allclose(sums["hirescam"], found.scores, rtol=1e-4)
    assert np.abs(sums["gradcam"] - found.scores).min() > 1e-2


def test_grad_cam_plus_plus_of_an_even_gradient_has_a_closed_form(pooled):
    found = explain(pooled, pixels(), method="gradcam++")
    maps, _, _ = class_activation(pooled, pixels(), found.targets)
    places = maps.shape[1] * maps.shape[2]
    slope = kernel_of(pooled, "head_dense")[0].T[found.targets] / places
    sums = maps.sum(axis=(1, 2))
    weights = np.where(slope > 0, places * slope / (2 + slope * sums), 0.0)
    expected = np.einsum("nhwk,nk->nhw", maps, weights)
    np.testing.assert_allclose(found.raw, expected, rtol=1e-4, atol=1e-7)
    assert np.isfinite(found.raw).all()


def test_score_cam_shows_the_network_what_each_channel_leaves():
    model, images = convolved(), pixels(2, 8)
    found = explain(model, images, method="scorecam", fill=0)
    maps = outputs(kerastl.features.truncate(model, "map"), images)
    for image, channels, raw, target in zip(
        images, maps, found.raw, found.targets, strict=True
    ):
        scores = []
        for channel in np.moveaxis(channels, -1, 0):
            mask = (channel - channel.min()) / np.ptp(channel)
            shown = image * mask[..., None]
            scores.append(outputs(model, shown[None])[0, target])
        weights = np.exp(scores - np.max(scores))
        weights /= weights.sum()
        np.testing.assert_allclose(raw, channels @ weights, rtol=1e-3, atol=1e-3)


def test_score_cam_tries_the_channels_that_vary_most():
    model, images = convolved(), pixels(1, 8)
    channels = outputs(kerastl.features.truncate(model, "map"), images)[0]
    widest = np.ptp(channels, axis=(0, 1)).argmax()
    found = explain(model, images, method="scorecam", channels=1)
    np.testing.assert_allclose(found.raw[0], channels[..., widest], rtol=1e-5)


def test_occlusion_of_a_linear_model_is_what_the_patch_added():
    model, images = linear_model(), pixels(2, 8)
    fill = (10.0, 20.0, 30.0)
    found = explain(model, images, method="occlusion", patch=3, fill=fill)
    weights = kernel_of(model)[0].T[found.targets].reshape(2, 8, 8, 3)
    added = (weights * (images - np.array(fill))).sum(axis=-1)
    for top in (0, 3, 6):
        for left in (0, 3, 6):
            here = (slice(None), slice(top, top + 3), slice(left, left + 3))
            expected = added[here].sum(axis=(1, 2))[:, None, None]
            given = np.broadcast_to(expected, found.maps[here].shape)
            np.testing.assert_allclose(found.maps[here], given, rtol=1e-3, atol=1e-2)


def test_integrated_gradients_of_a_linear_model_take_one_step():
    model, images = linear_model(), pixels(2, 8)
    found = explain(model, images, method="integrated_gradients", steps=1)
    weights = kernel_of(model)[0].T[found.targets].reshape(2, 8, 8, 3)
    blank = images.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(
        found.raw, weights * (images - blank), rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(found.maps, found.raw.sum(axis=-1))
    assert found.gap.max() < 1e-2 < np.abs(found.raw).max()


def test_of_squares_one_step_in_the_middle_is_exact():
    model = own_model(lambda images: layers.Multiply()([images, images]))
    images = pixels(2, 8)
    options = {"method": "integrated_gradients", "steps": 1, "fill": 100}
    found = explain(model, images, **options)
    weights = kernel_of(model)[0].T[found.targets].reshape(2, 8, 8, 3)
    expected = weights * (images.astype("float64") ** 2 - 100**2)
    np.testing.assert_allclose(found.raw, expected, rtol=1e-3, atol=1e-1)


def test_the_gap_is_told_and_shrinks_with_steps(pooled):
    def gaps(steps):
        options = {"method": "integrated_gradients", "steps": steps, "fill": 0}
        return explain(pooled, pixels(), **options)

    with pytest.warns(UserWarning, match="take more `steps`"):
        few = gaps(1)
    many = gaps(256)
    start = outputs(pooled, np.zeros((1, 16, 16, 3)))[0]
    reach = many.scores - start[many.targets]
    missed = np.abs(many.raw.sum(axis=(1, 2, 3)) - reach)
    np.testing.assert_allclose(many.gap, missed, atol=1e-4)
    assert many.gap.max() < few.gap.max() / 10


def test_smooth_gradients_of_a_linear_model_are_its_weights():
    model = linear_model()
    found = explain(model, pixels(2, 8), method="smoothgrad", samples=2)
    weights = kernel_of(model)[0].T[found.targets].reshape(2, 8, 8, 3)
    np.testing.assert_allclose(found.raw, weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.maps, np.abs(weights).sum(axis=-1), rtol=1e-4)


def test_without_noise_it_is_the_gradient(pooled):
    image = pixels(1)
    found = explain(pooled, image, method="smoothgrad", noise=0.0, samples=1)
    place = np.unravel_index(np.abs(found.raw[0]).argmax(), found.raw[0].shape)
    step = np.zeros(image.shape)
    step[(0, *place)] = 0.5
    ends = [outputs(pooled, image + s)[0, found.targets[0]] for s in (step, -step)]
    slope = float(ends[0] - ends[1])
    assert found.raw[(0, *place)] == pytest.approx(slope, rel=0.05)


@pytest.mark.filterwarnings("ignore:Of . of . images integrated gradients")
@pytest.mark.parametrize("method", METHODS)
def test_a_map_does_not_depend_on_company(method, pooled):
    images = pixels(5)
    together = explain(pooled, images, method=method, batch_size=2, **QUICK)
    alone = explain(pooled, images[:1], method=method, batch_size=1, **QUICK)
    assert len(together) == 5
    assert np.abs(together.maps[0]).max() > 0
    scale = np.abs(together.maps[0]).max()
    np.testing.assert_allclose(together.maps[0], alone.maps[0], atol=1e-4 * scale)


@pytest.mark.filterwarnings("ignore:Of . of . images integrated gradients")
@pytest.mark.parametrize("method", METHODS)
def test_no_weight_changes(method, pooled):
    before = values(pooled)
    explain(pooled, pixels(2), method=method, **QUICK)
    for old, new in zip(before, values(pooled), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_target_is_a_name_an_index_or_one_for_each(pooled):
    options = {"method": "gradcam"}
    by_name = explain(pooled, pixels(2), target="cedar", **options)
    by_index = explain(pooled, pixels(2), target=2, **options)
    each = explain(pooled, pixels(2), target=["ash", 2], **options)
    np.testing.assert_array_equal(by_name.maps, by_index.maps)
    np.testing.assert_array_equal(each.maps[1], by_index.maps[1])
    assert each.targets.tolist() == [0, 2]
    assert each.scores[0] == pytest.approx(outputs(pooled, pixels(2))[0, 0], rel=1e-5)


def test_for_a_single_logit_the_first_class_is_its_opposite():
    model = small_classifier(("no", "yes"), task="binary")
    model.get_layer("head_dense").set_weights([np.ones((4, 1)), np.ones(1)])
    yes, no = (explain(model, pixels(2), target=t) for t in ("yes", "no"))
    assert np.abs(yes.raw).max() > 0
    np.testing.assert_allclose(yes.raw, -no.raw)
    np.testing.assert_allclose(yes.scores, outputs(model, pixels(2))[:, 0], rtol=1e-5)
    assert (explain(model, pixels(2)).targets == (yes.scores > 0)).all()


def test_the_gradient_is_that_of_the_calibrated_logit():
    from kerastl.models.record import set_temperature

    model = small_classifier(learnt=True)
    before = explain(model, pixels(2)).raw
    set_temperature(model, 2.0)
    np.testing.assert_allclose(explain(model, pixels(2)).raw, before / 2, rtol=1e-4)


def test_numbers_are_explained_too():
    model = kerastl.build_regressor(
        small_network(), [1.0, 2.0, 4.0], names=["age"], preprocessing="tf"
    )
    dense = model.get_layer("head_dense")
    dense.set_weights([np.ones(dense.kernel.shape), np.zeros(1)])
    found = explain(model, pixels(2))
    assert found.target_names == ("age",)
    assert np.abs(found.raw).max() > 0


def test_maps_are_enlarged_between_the_centres_of_their_cells():
    maps = np.random.default_rng(0).normal(size=(1, 3, 5))
    found = enlarge(maps, (12, 15))[0]
    zoomed = ndimage.zoom(maps[0], (4, 3), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(found, zoomed, atol=1e-12)
    np.testing.assert_allclose(enlarge(maps, (3, 5)), maps)


def test_what_speaks_for_is_orange_and_against_it_blue():
    shown = lay_over(np.full((1, 3), 100), np.array([[2.0, 0.0, -2.0]]), share=1.0)
    assert shown.tolist() == [[[213, 94, 0], [100, 100, 100], [0, 114, 178]]]
    nothing = lay_over(np.full((2, 2, 3), 7, "uint8"), np.zeros((2, 2)))
    assert (nothing == 7).all()


def test_the_plot_names_the_class_and_the_size_of_each_map(pooled):
    found = explain(pooled, pixels(2), target="beech")
    figure = found.plot()
    titles = [axes.get_title() for axes in figure.axes]
    largest = [f"largest {np.abs(m).max():.2g}" for m in found.maps]
    assert titles == ["for beech", largest[0], "for beech", largest[1]]
    assert "hirescam of 2 images at relu3, 2 x 2 cells" in str(found)


def test_a_network_without_a_cut_is_refused_in_a_sentence():
    options = {"method": "gradcam"}
    with pytest.raises(ValueError, match="need no cut"):
        explain(linear_model(), pixels(1, 8), **options)
    found = explain(linear_model(), pixels(1, 8), method="occlusion")
    assert found.at is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "gradcm"}, "Did you mean 'gradcam'"),
        ({"target": "cedr"}, "Did you mean 'cedar'"),
        ({"target": 3}, "below 3"),
        ({"target": [0]}, "one an image"),
        ({"at": "head_dense"}, "whose output is a map"),
        ({"at": "relu"}, "Did you mean 'relu"),
        ({"method": "occlusion", "fill": (1, 2)}, "or 3 of them"),
        ({"steps": 0}, "at least 1"),
        ({"noise": -1.0}, "at least 0"),
        ({"patch": 0}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_said(options, words, pooled):
    with pytest.raises(ValueError, match=words):
        explain(pooled, pixels(2), **options)


def test_a_segmenter_is_refused():
    network = small_network()
    model = kerastl.build_segmenter(network, ["a", "b"], preprocessing="tf")
    with pytest.raises(ValueError, match="a classifier or regressor of images"):
        explain(model, pixels(2))


# It imports from places that SciPy has left.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_grad_cam_is_that_of_tf_keras_vis(pooled):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf-keras-vis knows TensorFlow alone")
    gradcam = pytest.importorskip("tf_keras_vis.gradcam")
    scores = pytest.importorskip("tf_keras_vis.utils.scores")
    images = pixels()
    found = explain(pooled, images, method="gradcam", target=1)
    theirs = gradcam.Gradcam(pooled, clone=False)(
        scores.CategoricalScore([1] * len(images)),
        images.astype("float32"),
        penultimate_layer=found.at,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    ours = np.maximum(found.raw, 0)
    np.testing.assert_allclose(np.asarray(theirs), ours, rtol=1e-4, atol=1e-5)
