"""The rates of a phase's blocks reach the steps, and are measured as promised."""

import keras
import numpy as np
import pytest
from networks import coloured, small_classifier, trains, values

import kerastl
from kerastl.training.gradient_norms import check_rates
from kerastl.training.recipes import recipe_phases


def phase(**settings):
    given = {"trainable": "all", "epochs": 1, "learning_rate": 0.01, **settings}
    return kerastl.Phase("some", **{"optimizer": "sgd", **given})


def classifier():
    """The same each time, with a head that is neither zero nor far off."""
    keras.utils.set_random_seed(0)
    model = small_classifier(learnt=True, dropout=0.0)
    head = model.get_layer("head_dense")
    head.set_weights([weight / 8 for weight in head.get_weights()])
    return model


def run(phases, *, cache="auto", batch_size=4, **options):
    """A trained model, what its weights were, and the history."""
    model = classifier()
    before = values(model)
    history = kerastl.run_phases(
        model,
        coloured(4),
        phases=phases,
        batch_size=batch_size,
        cache=cache,
        seed=0,
        **options,
    )
    return model, before, history


def shift(model, before):
    """Path -> how far each weight has moved."""
    pairs = zip(model.weights, before, values(model), strict=True)
    return {weight.path: new - old for weight, old, new in pairs}


def test_a_block_at_rate_zero_keeps_its_bits():
    named = {"block_2": 0, "head": 0}
    _, _, history = run(phase(multipliers=named))
    record = history.phases[0]
    still = {p for p in record.trainable if p[:5] in ("conv2", "bn2/g", "bn2/b")}
    still |= {p for p in record.trainable if p.startswith("head")}
    assert set(record.moved) == set(record.trainable) - still


def test_the_first_step_is_scaled_by_block():
    plain, scaled = (
        shift(*run(phase(batch_norm="frozen", **settings), batch_size=12)[:2])
        for settings in ({}, {"layer_decay": 0.5})
    )
    for path, multiplier in {
        "conv1/kernel": 0.125,
        "conv2/kernel": 0.25,
        "conv3/kernel": 0.5,
        "head_dense/kernel": 1.0,
    }.items():
        np.testing.assert_allclose(
            scaled[path], multiplier * plain[path], rtol=1e-3, atol=1e-6, err_msg=path
        )


@pytest.mark.parametrize(
    "settings",
    [{"layer_decay": 0.5}, {"multipliers": {"block_3": 0.25}}],
    ids=["decay", "names"],
)
def test_the_end_above_a_cache_learns_at_the_same_rates(settings):
    settings = {"trainable": 2, "epochs": 2, **settings}
    cached, _, history = run(phase(**settings), cache="memory")
    whole, _, _ = run(phase(**settings), cache="off")
    assert history.phases[0].cached
    for weight, one, other in zip(
        whole.weights, values(cached), values(whole), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=weight.path)


def test_the_model_is_left_compiled_at_its_rates():
    model, _, _ = run(phase(layer_decay=0.5))
    found = [row.multiplier for row in kerastl.rates.learning_rates(model).rows]
    assert found == [0.125, 0.25, 0.5, 1.0]


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_measured_multipliers_are_the_relative_gradient_norms(cache):
    settings = {"trainable": 2, "epochs": 2, "batch_norm": "frozen"}
    _, _, history = run(
        phase(multipliers="auto_rgn", **settings), batch_size=12, cache=cache
    )
    found = history.phases[0].multipliers
    assert len(found) == 2
    norms = kerastl.rates.relative_gradient_norms(classifier(), coloured(4), batches=1)
    norms.pop("block_1")
    wanted = {name: value / max(norms.values()) for name, value in norms.items()}
    assert list(found[0]) == list(wanted)
    np.testing.assert_allclose(
        list(found[0].values()), list(wanted.values()), rtol=1e-4
    )
    assert found[1] != found[0]


def test_measured_multipliers_scale_the_steps():
    settings = {"batch_norm": "frozen", "learning_rate": 1e-3}
    plain = shift(*run(phase(**settings), batch_size=12)[:2])
    model, before, history = run(
        phase(multipliers="auto_rgn", **settings), batch_size=12
    )
    scaled, found = shift(model, before), history.phases[0].multipliers[0]
    for number in (1, 2, 3):
        path = f"conv{number}/kernel"
        ratio = np.linalg.norm(scaled[path]) / np.linalg.norm(plain[path])
        np.testing.assert_allclose(ratio, found[f"block_{number}"], rtol=1e-2)


def test_a_new_head_learns_first():
    images, labels = coloured(4)
    model = small_classifier()
    history = kerastl.run_phases(
        model, (images, labels), phases=phase(multipliers="auto_rgn"), seed=0
    )
    assert history.phases[0].multipliers == (
        {"block_1": 0.0, "block_2": 0.0, "block_3": 0.0, "head": 1.0},
    )


def test_gradual_opens_one_block_more_in_each_phase():
    model = classifier()
    data = coloured(4)
    history = kerastl.fine_tune(model, data, recipe="gradual", epochs=1, seed=0)
    blocks = ["conv1 bn1", "conv2 bn2", "conv3 bn3"]
    for opened, record in enumerate(history.phases):
        names = {"head_dense", *" ".join(blocks[3 - opened :]).split()}
        wanted = {
            weight.path
            for weight in model.weights
            if weight.path.split("/")[0] in names and "moving" not in weight.path
        }
        assert set(record.moved) == wanted, record.name
    assert [record.name for record in history.phases] == [
        "head",
        "top 1",
        "top 2",
        "all",
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"multipliers": {"blok_3": 0.5}}, "Did you mean 'block_3'"),
        ({"multipliers": {"block_1": 0.5}}, "of what trains.*in it trains in phase"),
        ({"multipliers": {"bn3": 0.5}}, "of what trains. Received: .*'bn3'"),
        ({"multipliers": {"relu3": 0.5}}, "of what trains. Received: .*'relu3'"),
        ({"multipliers": "auto_rgn", "optimizer": "ftrl"}, "other than Ftrl"),
        ({"multipliers": {"head": 0}, "optimizer": "ftrl"}, "above 0 for Ftrl"),
    ],
)
def test_a_later_phase_is_checked_before_the_first(settings, sentence):
    model = classifier()
    before = values(model)
    phases = [phase(), phase(trainable=1, **settings)]
    with pytest.raises(ValueError, match=sentence):
        kerastl.run_phases(model, coloured(2), phases=phases)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("batch_norm", ["auto", "frozen", "affine", "train"])
@pytest.mark.parametrize("trainable", ["head", "all", 2, ("bn2",), "norm", "bias"])
def test_a_layer_may_have_a_rate_exactly_where_it_trains(trainable, batch_norm):
    model, accepted = classifier(), set()
    layers = {layer.name for layer in model.layers}
    settings = {"trainable": trainable, "batch_norm": batch_norm}
    for name in layers:
        try:
            check_rates(model, [phase(multipliers={name: 0.5}, **settings)], 1)
        except ValueError:
            continue
        accepted.add(name)
    kerastl.unfreeze(model, trainable, batch_norm=batch_norm)
    assert accepted == {path.split("/")[0] for path in trains(model)}


def test_gradients_are_not_measured_over_several_devices():
    with pytest.raises(ValueError, match="numbers on several devices"):
        check_rates(small_classifier(), [phase(multipliers="auto_rgn")], 2)


def test_recipes_have_no_rates_of_their_own():
    for record in recipe_phases(small_classifier(), "lp_ft"):
        assert (record.layer_decay, record.multipliers) == (None, None)
