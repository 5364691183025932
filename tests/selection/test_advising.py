"""The advice: what is measured, what follows, and that it can be run."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from networks import coloured, pixels, small_network

import kerastl
from kerastl.models.adapting import adapt_backbone
from kerastl.models.freezing import model_blocks
from kerastl.models.record import read_record
from kerastl.selection.advice import Advice, advise, follow, input_shift
from kerastl.selection.decision import NEAR_RATE, PROBE_RATE
from kerastl.selection.depth import depth_profile
from kerastl.tasks.task import Task
from kerastl.training.recipes import recipe_phases

NAMES = ("ash", "beech", "cedar")


def colours(per_class=4, seed=0, size=16):
    images, labels = coloured(per_class, size, seed)
    return kerastl.ImageSet(images, labels, NAMES)


def network(useless_top=False, seed=1):
    """Three blocks; the last one may be dead, or pass on what comes."""
    keras.utils.set_random_seed(seed)
    backbone = adapt_backbone(small_network(), preprocessing="tf")
    for number in (1, 2, 3):
        kernel = np.zeros((3, 3, 3 if number == 1 else 4, 4))
        # Each channel is a colour, carried through: a probe is never wrong.
        kernel[1, 1, :3, :3] = np.eye(3)
        layer = backbone.get_layer(f"conv{number}")
        layer.set_weights([0 * kernel if useless_top and number == 3 else kernel])
    if useless_top:
        # A ripple of the place alone would be constant: leave it a noise of the input.
        kernel = np.random.default_rng(0).normal(0, 1e-3, (3, 3, 4, 4))
        kernel -= kernel.mean(axis=2, keepdims=True)
        kernel[:, :, :3] = 0
        backbone.get_layer("conv3").set_weights([kernel])
        backbone.get_layer("bn3").set_weights(
            [np.ones(4), np.zeros(4), np.zeros(4), np.ones(4)]
        )
    return backbone


def noisy_channel(backbone, weight=-0.5):
    """Let the fourth channel carry what tells no class: the sum of all colours."""
    for number in (1, 2):
        layer = backbone.get_layer(f"conv{number}")
        (kernel,) = layer.get_weights()
        kernel = kernel.copy()
        if number == 1:
            kernel[0, 0, :, 3] = weight
        else:
            kernel[1, 1, 3, 3] = 1.0
        layer.set_weights([kernel])
    return backbone


def test_few_images_like_the_old_ones_train_a_head():
    advice = advise(colours(), network(), image_size=16)
    assert advice.quadrant == "small and similar"
    assert (advice.recipe, advice.unfreeze) == ("linear_probe", "head")
    assert (advice.cut, advice.augment) == (None, None)
    assert advice.learning_rate == PROBE_RATE
    assert advice.epochs == (60,)


def test_few_images_unlike_the_old_ones_cut_the_backbone():
    backbone = noisy_channel(network(useless_top=True))
    advice = advise(colours(), backbone)
    assert advice.quadrant == "small and different"
    assert advice.cut == "relu2"
    assert advice.recipe == "linear_probe"


def test_more_images_train_the_upper_half():
    advice = advise(colours(20), network())
    assert advice.quadrant == "large and similar"
    assert (advice.recipe, advice.augment) == ("two_phase", "light")
    assert advice.unfreeze == len(model_blocks(network())) // 2 == 1
    assert advice.learning_rate == NEAR_RATE


def test_more_images_unlike_the_old_ones_train_everything():
    advice = advise(colours(20), noisy_channel(network(useless_top=True)))
    assert advice.quadrant == "large and different"
    assert (advice.recipe, advice.unfreeze, advice.cut) == ("lp_ft", "all", None)
    assert advice.learning_rate == Task.fine_rate


def test_epochs_are_those_of_the_recipe_at_this_size():
    data, backbone = colours(20), network()
    advice = advise(data, backbone)
    model = kerastl.build_classifier(backbone, NAMES)
    phases = recipe_phases(model, advice.recipe, steps_per_epoch=2)
    assert advice.epochs == tuple(phase.epochs for phase in phases)


def test_a_network_that_has_learnt_nothing_trains_from_the_start():
    options = {"alpha": 0.25, "image_size": 32, "weights": None}
    advice = advise(colours(), "MobileNet", **options)
    assert (advice.recipe, advice.unfreeze) == ("scratch", "all")
    assert not advice.evidence.pretrained


@pytest.fixture
def much(monkeypatch):
    """A hundred images are much."""
    monkeypatch.setattr("kerastl.selection.decision.SCRATCH_IMAGES", 30)
    monkeypatch.setattr("kerastl.selection.decision.SMALL_IMAGES", 1)
    # Whatever the profile says, the images are unlike the old ones.
    monkeypatch.setattr("kerastl.selection.decision.DIFFERENT_MARGIN", -99.0)
    monkeypatch.setattr("kerastl.selection.decision.DIFFERENT_GAP", -1.0)


OPTIONS = {"alpha": 0.25, "image_size": 32}


def test_on_much_data_random_weights_are_probed_at_the_same_cuts(much):
    data = colours(12)
    advice = advise(data, "MobileNet", seed=3, **OPTIONS)
    profile = depth_profile(
        "MobileNet",
        data,
        cuts=advice.evidence.cuts,
        weights=None,
        seed=3,
        **OPTIONS,
    )
    assert advice.evidence.random_accuracy == pytest.approx(max(profile.accuracies))


@pytest.mark.parametrize(("random", "recipe"), [(1.0, "scratch"), (0.0, "lp_ft")])
def test_weights_no_better_than_random_ones_are_given_up(
    much, monkeypatch, random, recipe
):
    from kerastl.selection import advice as advising

    plain, made = advising.probe_depths, []

    def profile(*arguments, **options):
        found, top = plain(*arguments, **options)
        made.append(found)
        if len(made) == 2:
            values = {**vars(found), "accuracies": (random,) * len(found.cuts)}
            return type(found)(**values), top
        return found, top

    monkeypatch.setattr(advising, "probe_depths", profile)
    advice = advise(colours(12), "MobileNet", **OPTIONS)
    assert advice.recipe == recipe
    training = follow(advice, "MobileNet", colours(12), **OPTIONS)
    weights = read_record(kerastl.build_classifier(training.backbone, NAMES)).weights
    assert weights == ("none" if recipe == "scratch" else "tiny")


def test_a_network_at_hand_is_not_compared_with_a_random_one(much):
    advice = advise(colours(12), network())
    assert advice.evidence.random_accuracy is None
    assert advice.recipe == "lp_ft"


def test_the_evidence_is_that_of_the_depth_profile():
    data, backbone = colours(20), network(seed=2)
    advice = advise(data, backbone, seed=4)
    profile = depth_profile(backbone, data, seed=4)
    found = advice.evidence
    assert (found.images, found.classes, found.probed) == (60, 3, 60)
    assert found.chance == pytest.approx(1 / 3)
    assert found.cuts == profile.cuts
    assert found.accuracies == profile.accuracies
    assert found.standard_errors == profile.standard_errors


def test_size_is_counted_on_all_images_though_few_are_probed():
    advice = advise(colours(20), network(), images=21)
    assert (advice.evidence.images, advice.evidence.probed) == (60, 21)
    assert advice.quadrant == "large and similar"


def test_classes_of_fewer_images_than_folds_make_fewer_folds():
    images, _ = coloured(4)
    labels = np.array([0] * 5 + [1] * 5 + [2] * 2)
    advice = advise(kerastl.ImageSet(images, labels, NAMES), network())
    assert advice.evidence.images == 12


def test_only_the_training_part_is_measured():
    splits = kerastl.Splits(colours(20), colours(3, 8), colours(3, 9))
    backbone = network()
    assert advise(splits, backbone).evidence == advise(colours(20), backbone).evidence


def test_all_cuts_come_from_one_pass(monkeypatch):
    seen, plain = [], keras.Model.predict_on_batch

    def counting(self, batch):
        seen.append(len(batch))
        return plain(self, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counting)
    advise(colours(), network(), batch_size=1)
    assert seen == [1] * 12


def test_the_input_shift_is_zero_for_images_like_those_of_imagenet():
    generator = np.random.default_rng(0)
    means, spreads = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    # Two levels have exactly the deviation of their distance from the mean.
    signs = np.where(generator.permutation(1000) % 2, 1, -1)[:, None]
    values = 255 * (np.array(means) + signs * np.array(spreads))
    images = values.reshape(10, 10, 10, 3)
    assert input_shift(images) == pytest.approx(0, abs=1e-9)
    # One deviation brighter in one channel; half the contrast in all.
    brighter = np.array([0, 0, 255 * 0.225])
    assert input_shift(images + brighter) == pytest.approx(1.0)
    middle = images.mean(axis=(0, 1, 2))
    assert input_shift(middle + (images - middle) / 2) == pytest.approx(1.0)


def test_advice_prints_what_to_do_and_why():
    advice = advise(colours(20), network())
    lines = str(advice).splitlines()
    assert lines[0] == "data           large and similar"
    assert "trains         head and top 1 block" in lines
    assert "epochs         10, 24" in lines
    assert [line[2:] for line in lines if line.startswith("- ")] == list(advice.reasons)


def test_advice_is_json_ready():
    advice = advise(colours(), network())
    record = json.loads(json.dumps(advice.to_dict()))
    assert record["evidence"]["images"] == 12
    assert record["epochs"] == [60]


def plan(**changes):
    """Advice as the next function takes it."""
    found = advise(colours(), network())
    return Advice(**{**vars(found), **changes})


def test_a_truncated_backbone_gives_standardised_features():
    backbone, data = noisy_channel(network()), colours()
    training = follow(plan(cut="relu2"), backbone, data)
    averages = layers.GlobalAveragePooling2D()(training.backbone.output)
    pooled = keras.Model(training.backbone.input, averages)
    rows = pooled.predict(data.images.astype("float32"), verbose=0)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.std(axis=0), 1, atol=1e-3)
    whole = keras.Model(backbone.input, backbone.get_layer("relu2").output)
    maps = whole.predict(data.images.astype("float32"), verbose=0).mean(axis=(1, 2))
    expected = (maps - maps.mean(axis=0)) / maps.std(axis=0)
    np.testing.assert_allclose(rows, expected, atol=1e-3)


def test_a_channel_that_never_changes_in_training_is_not_blown_up_later():
    # Its fourth channel is zero on dark images and alive on bright ones.
    training = follow(plan(cut="relu2"), noisy_channel(network(), 0.5), colours())
    bright = np.full((1, 16, 16, 3), 255, "float32")
    outputs = training.backbone.predict(bright, verbose=0)
    assert 1 < outputs[..., 3].max() < 1e5


def test_the_whole_backbone_is_left_as_it_is():
    backbone = network()
    advice = plan(recipe="lp_ft", unfreeze="all")
    assert follow(advice, backbone, colours()).backbone is backbone


def test_a_truncated_backbone_makes_a_classifier_with_its_blocks_and_its_record():
    advice = plan(cut="conv_pw_4_relu")
    training = follow(advice, "MobileNet", colours(), **OPTIONS)
    model = kerastl.build_classifier(training.backbone, NAMES)
    assert list(model_blocks(model)) == ["stem", *(f"block_{i}" for i in range(1, 5))]
    assert read_record(model).weights == "tiny"
    assert read_record(model).image_size == (32, 32)


def test_advised_training_learns_and_survives_its_file(tmp_path):
    train, test = colours(size=32), colours(10, 5, 32)
    advice = advise(train, "MobileNet", **OPTIONS)
    training = follow(advice, "MobileNet", train, **OPTIONS)
    model = kerastl.build_classifier(training.backbone, NAMES, seed=0)
    kerastl.fine_tune(
        model,
        train,
        test,
        recipe=training.recipe,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        augment=training.augment,
        seed=0,
        verbose=0,
    )
    # Three colours: a third is chance.
    assert kerastl.evaluate(model, test).accuracy > 0.8
    kerastl.save_model(model, tmp_path / "model.keras")
    again = kerastl.load_model(tmp_path / "model.keras")
    images = test.images.astype("float32")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 0, 0], "images of at least two classes"),
        ([0, 1, 2], "at least 2 different images of each class"),
        ([0, 0, 1], "at least 2 different images of each class.*beech"),
    ],
)
def test_data_that_cannot_be_judged_are_named(labels, words):
    data = kerastl.ImageSet(pixels(len(labels)), np.array(labels), NAMES)
    with pytest.raises(ValueError, match=words):
        advise(data, network())


def test_a_backbone_without_a_cut_inside_is_refused():
    size = {"image_size": 32, "weights": None}
    with pytest.raises(ValueError, match="`backbone` must be one that can be cut insi"):
        advise(colours(), "NASNetMobile", **size)


@pytest.mark.parametrize(
    ("broken", "words"),
    [(np.nan, "`features` must be finite"), (0.0, "different between images")],
)
def test_features_of_no_use_are_an_error(broken, words):
    backbone = network()
    layer = backbone.get_layer("conv3")
    layer.set_weights([layer.get_weights()[0] * broken])
    with pytest.raises(ValueError, match=words):
        advise(colours(), backbone)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"images": 5}, "`images` must be at least 6"),
        ({"cuts": 1}, "`cuts` must be at least 2"),
        ({"cuts": ("relu9", "relu1")}, "relu9"),
        ({"image_size": 17}, r"`image_size` must be \(16, 16\)"),
        ({"resize": "squash"}, "'stretch', 'crop', 'pad'"),
    ],
)
def test_options_out_of_range_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        advise(colours(), network(), **options)
