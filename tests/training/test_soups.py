"""Means of several models: what is in them, and what may not be."""

import keras
import numpy as np
import pytest
from networks import (
    assert_same_weights,
    coloured,
    outputs,
    pixels,
    small_classifier,
    small_network,
    values,
)

import kerastl
from kerastl.models.adapting import adapt_backbone
from kerastl.models.freezing import unfreeze
from kerastl.models.layers import adapted_parts, factors
from kerastl.models.lora import add_lora
from kerastl.tasks.building import load_model, save_model
from kerastl.training.averaging import greedy_soup, uniform_soup


def cousins(count=3, spread=0.5, seed=0):
    """Classifiers that might have been fine-tuned from one network."""
    first = small_classifier(learnt=True)
    start, found = values(first), []
    generator = np.random.default_rng(seed)
    for _ in range(count):
        model = keras.models.clone_model(first)
        for weight, value in zip(model.weights, start, strict=True):
            noise = generator.normal(size=weight.shape) * spread * np.std(value)
            # Heads go further than kernels do, and are allowed to.
            factor = 3.0 * ("head" in weight.path) + 1.0 * ("conv" in weight.path)
            weight.assign(value + factor * noise)
        found.append(model)
    return found


def means(models):
    columns = zip(*map(values, models), strict=True)
    return [
        np.mean([a.astype("float64") for a in column], axis=0) for column in columns
    ]


def accuracy(model, images, labels):
    return (outputs(model, images).argmax(axis=1) == labels).mean()


def test_a_soup_of_one_or_of_copies_is_that_model():
    (model,) = cousins(1)
    for models in ([model], [model] * 3):
        assert_same_weights(uniform_soup(models), values(model))


def normalising():
    """A classifier whose network begins with statistics of its own."""
    images = keras.Input((16, 16, 3))
    scaling = keras.layers.Normalization(name="scaling")
    x = keras.layers.Conv2D(4, 3, name="conv")(scaling(images))
    network = keras.Model(images, x, name="own")
    scaling.adapt(pixels(8, 16).astype("float32"))
    model = kerastl.build_classifier(
        adapt_backbone(network, preprocessing="none"), ("a", "b"), seed=0
    )
    dense = model.get_layer("head_dense")
    kernel = np.random.default_rng(0).normal(size=dense.kernel.shape)
    dense.set_weights([kernel, np.ones(2)])
    return model


def test_what_a_network_computed_of_its_statistics_is_in_the_soup(tmp_path):
    model = normalising()
    soup = uniform_soup([model, model])
    save_model(soup, tmp_path / "soup.keras")
    for same in (soup, load_model(tmp_path / "soup.keras")):
        np.testing.assert_allclose(
            outputs(same, pixels(4, 16)), outputs(model, pixels(4, 16)), rtol=1e-5
        )


def test_a_uniform_soup_is_the_mean_of_the_weights():
    models = cousins()
    soup = uniform_soup(models)
    for weight, wanted in zip(soup.weights, means(models), strict=True):
        now = np.array(keras.ops.convert_to_numpy(weight))
        np.testing.assert_allclose(now, wanted, rtol=1e-6, err_msg=weight.path)


def test_a_soup_is_a_new_model_and_the_old_ones_stay():
    models = cousins(2)
    before = [values(model) for model in models]
    soup = uniform_soup(models)
    for weight in soup.weights:
        weight.assign(np.full(weight.shape, 5.0))
    for model, old in zip(models, before, strict=True):
        assert_same_weights(model, old)
    assert kerastl.class_names(soup) == kerastl.class_names(models[0])


def test_files_make_the_same_soup_as_models(tmp_path):
    models, files = cousins(), []
    for number, model in enumerate(models):
        files.append(tmp_path / f"{number}.keras")
        save_model(model, files[-1])
    soup = uniform_soup([str(files[0]), files[1], models[2]])
    assert_same_weights(soup, values(uniform_soup(models)))
    save_model(soup, tmp_path / "soup.keras")
    loaded = load_model(tmp_path / "soup.keras")
    np.testing.assert_array_equal(outputs(loaded, pixels()), outputs(soup, pixels()))


def tuned_by_adapters(count=3):
    """Classifiers that might have been fine-tuned by LoRA from one network."""
    models, generator = cousins(count, spread=0.0), np.random.default_rng(0)
    for seed, model in enumerate(models):
        add_lora(model, rank=2, alpha=3.0, seed=seed)
        for part in adapted_parts(model.layers):
            _, b = factors(part)
            b.assign(0.3 * generator.normal(size=b.shape))
    return models


@pytest.mark.parametrize(
    "cook", [uniform_soup, lambda models: greedy_soup(models, coloured()).model]
)
def test_adapters_count_as_folded_into_their_kernels(tmp_path, cook):
    models, files = tuned_by_adapters(), []
    for number, model in enumerate(models):
        files.append(tmp_path / f"{number}.keras")
        save_model(model, files[-1])
    before = [values(model) for model in models]
    assert_same_weights(cook(models), values(cook(files)))
    for model, old in zip(models, before, strict=True):
        assert_same_weights(model, old)


def test_what_only_training_knows_may_differ():
    (model,) = cousins(1)
    other = small_classifier(learnt=True, dropout=0.5)
    other.set_weights(values(model))
    unfreeze(model, "all", batch_norm="affine")
    assert_same_weights(uniform_soup([model, other]), values(model))


@pytest.mark.parametrize("seed", range(4))
def test_a_greedy_soup_is_what_the_recipe_makes(seed):
    models, (images, labels) = cousins(4, 0.7, seed), coloured(8)
    soup = greedy_soup(models, (images, labels))
    alone = [accuracy(model, images, labels) for model in models]
    np.testing.assert_allclose(soup.accuracies, alone)
    # The recipe, written out: from the best down, kept where it is no worse.
    order = sorted(range(4), key=lambda i: (-alone[i], soup.losses[i]))
    probe, members, best = keras.models.clone_model(models[0]), order[:1], max(alone)
    for place in order[1:]:
        for weight, value in zip(
            probe.weights, means([models[i] for i in [*members, place]]), strict=True
        ):
            weight.assign(value)
        found = accuracy(probe, images, labels)
        if found >= best:
            members, best = [*members, place], found
    assert soup.members == tuple(members)
    assert soup.accuracy == pytest.approx(best)
    assert soup.accuracy >= max(alone)
    assert accuracy(soup.model, images, labels) == pytest.approx(soup.accuracy)


def test_the_order_of_the_candidates_does_not_matter():
    models, data = cousins(4, 0.7), coloured(8)
    # Copies tie in accuracy and loss.
    models.append(keras.models.clone_model(models[1]))
    models[-1].set_weights(models[1].get_weights())
    forward, backward = (greedy_soup(m, data) for m in (models, models[::-1]))
    assert_same_weights(forward.model, values(backward.model))


def test_ties_in_accuracy_and_loss_are_tried_in_the_order_of_their_weights():
    # Heads of zeros: other weights, one function.
    first, second = cousins(2)
    images = pixels(4), np.arange(4) % 3
    for model in (first, second):
        model.get_layer("head_dense").set_weights([np.zeros((4, 3)), np.zeros(3)])
    there, back = (
        greedy_soup([first, second], images),
        greedy_soup([second, first], images),
    )
    assert there.accuracies == back.accuracies
    assert len(there.members) == 2
    assert there.members == tuple(1 - place for place in back.members)


def test_a_model_that_spoils_the_soup_is_left_out():
    good, poor = cousins(2, 0.1)
    images, _ = coloured(8)
    labels = outputs(good, images).argmax(axis=1)
    kernel, bias = poor.get_layer("head_dense").get_weights()
    poor.get_layer("head_dense").set_weights([-9 * kernel, -9 * bias])
    soup = greedy_soup([poor, good], (images, labels))
    assert soup.members == (1,)
    assert_same_weights(soup.model, values(good))


def test_statistics_that_differ_are_computed_anew():
    models, images = cousins(2), pixels(10)
    layer = models[1].get_layer("bn1")
    layer.moving_mean.assign(np.full(4, 3.0))
    averaged = uniform_soup(models)
    soup = uniform_soup(models, statistics=images)
    assert np.array(averaged.get_layer("bn1").moving_mean).tolist() == [1.5] * 4
    conv = keras.Model(soup.input, soup.get_layer("conv1").output)
    wanted = outputs(conv, images).mean(axis=(0, 1, 2))
    found = np.array(soup.get_layer("bn1").moving_mean)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.array(soup.get_layer("bn2").moving_mean).tolist() == [0.0] * 4


def test_it_prints_as_a_table_with_the_members_marked():
    models, data = cousins(3), coloured()
    seen = []
    soup = greedy_soup(models, data, progress=lambda *counts: seen.append(counts))
    lines = str(soup).splitlines()
    marked = {i for i, line in enumerate(lines[1:4]) if line.startswith("*")}
    assert marked == set(soup.members)
    assert lines[4].split()[:2] == ["soup", f"{100 * soup.accuracy:.1f}%"]
    assert seen == [(done, 5) for done in range(1, 6)]


def stranger(**options):
    keras.utils.set_random_seed(7)
    return small_classifier(learnt=True, **options)


def other_network():
    return kerastl.build_classifier(
        small_network("other"), ("ash", "beech", "cedar"), preprocessing="tf"
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (stranger, "fine-tuned from one start"),
        (lambda: small_classifier(("ash", "beech", "cherry")), "one class names"),
        (lambda: small_classifier(("ash", "beech")), "one class names"),
        (lambda: small_classifier(hidden=(5,)), "weights of one structure"),
        (lambda: small_classifier(pooling="max"), "GlobalMaxPooling2D"),
        (other_network, "one backbone"),
        (lambda: small_classifier(resize="crop"), "one resize"),
    ],
)
def test_models_that_do_not_go_together_are_refused(other, words):
    (model,) = cousins(1)
    with pytest.raises(ValueError, match=f"`models` must be .*{words}"):
        uniform_soup([model, other()])


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ([], ValueError, "at least one"),
        ("soup.keras", TypeError, "a list of models"),
        ([3], TypeError, "a functional keras.Model"),
        (["nowhere.keras"], FileNotFoundError, "a model file"),
    ],
)
def test_what_is_no_list_of_models_is_refused(models, error, words):
    with pytest.raises(error, match=words):
        uniform_soup(models)


def test_heads_may_have_gone_anywhere():
    first, second = cousins(2)
    dense = second.get_layer("head_dense")
    dense.set_weights([-np.array(dense.kernel), np.array(dense.bias)])
    kernel = uniform_soup([first, second]).get_layer("head_dense").kernel
    wanted = (
        np.array(first.get_layer("head_dense").kernel) - np.array(dense.kernel) * -1
    )
    np.testing.assert_allclose(np.array(kernel), wanted / 2, atol=1e-6)
