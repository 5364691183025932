"""Adapters, rates by block, penalties and precision on text networks."""

import keras
import numpy as np
import pytest
from texts import arrays, equal, hub_backbone, token_rows

import kerastl
from kerastl.models.freezing import model_blocks
from kerastl.models.layers import is_adapter
from kerastl.models.optimizers import variable_multipliers
from kerastl.models.text_backbones import build_text_backbone


def classifier(name="BertBackbone", **options):
    return kerastl.build_classifier(
        build_text_backbone(hub_backbone(name)), 3, **options
    )


def labelled(model, count=12):
    rows = token_rows(model, np.arange(count) % 10 + 1, seed=3)
    return rows, rows["token_ids"][:, 0] % 3


@pytest.mark.parametrize("name", ["BertBackbone", "GPT2Backbone", "GemmaBackbone"])
def test_adapters_train_alone_and_go_into_the_kernels(name):
    model = classifier(name, dropout=0.0, pooling="last")
    data = labelled(model)
    before = {w.path: np.array(w) for w in model.weights}
    start = arrays(model(data[0]))[0]
    kerastl.lora.add(model, rank=2, seed=0)
    np.testing.assert_array_equal(arrays(model(data[0]))[0], start)
    phase = kerastl.Phase("lora", trainable="lora", epochs=2, learning_rate=0.05)
    kerastl.run_phases(model, data, phases=[phase], seed=0, verbose=0)
    now = {w.path: np.array(w) for w in model.weights if not is_adapter(w)}
    changed = {p for p in before if not np.array_equal(before[p], now[p])}
    assert {path.split("/")[0] for path in changed} == {"head_dense"}
    adapted = arrays(model(data[0]))[0]
    assert np.abs(adapted - start).max() > 1e-3
    kerastl.lora.merge(model)
    np.testing.assert_allclose(arrays(model(data[0]))[0], adapted, atol=1e-4)
    assert not any(is_adapter(w) for w in model.weights)


def test_each_block_below_has_a_smaller_rate_and_the_embeddings_the_smallest():
    model = classifier()
    kerastl.unfreeze(model, "all")
    rates = {v.path: r for v, r in variable_multipliers(model, layer_decay=0.5)}
    blocks = [*model_blocks(model), "head_dense"]
    assert blocks == [
        "stem",
        *(f"transformer_layer_{i}" for i in range(3)),
        "head_dense",
    ]
    for depth, block in enumerate(reversed(blocks)):
        parts = model_blocks(model).get(block, (block,))
        found = {r for path, r in rates.items() if path.split("/")[0] in parts}
        assert found == {0.5**depth}, block


def test_l2_sp_costs_nothing_at_the_start_and_leaves_frozen_weights_alone():
    model = classifier(dropout=0.0)
    data = labelled(model)
    anchor = kerastl.penalties.L2SP(10.0)
    given = {"learning_rate": 1e-6, "optimizer": "sgd", "penalties": (anchor,)}
    phase = kerastl.Phase("top", trainable=1, epochs=1, **given)
    history = kerastl.run_phases(model, data, phases=[phase], seed=0, verbose=0)
    assert history.history["loss"][0] == pytest.approx(np.log(3), rel=1e-3)


def test_bfloat16_says_what_float32_says():
    rows = token_rows(hub_backbone(), (10, 4, 7, 2))
    whole = classifier(seed=0, dropout=0.0)
    hub = pytest.importorskip("keras_hub")
    config = hub_backbone().get_config() | {"dtype": "mixed_bfloat16"}
    small = hub.models.BertBackbone.from_config(config)
    small.set_weights(hub_backbone().get_weights())
    half = kerastl.build_classifier(small, 3, precision="mixed_bfloat16", dropout=0.0)
    kernel = np.random.default_rng(0).normal(size=(16, 3))
    for model in (whole, half):
        model.get_layer("head_dense").kernel.assign(kernel)
    first, second = arrays(whole(rows))[0], arrays(half(rows))[0]
    assert second.dtype == np.float32 and np.isfinite(second).all()
    np.testing.assert_allclose(second, first, atol=0.15)
    np.testing.assert_array_equal(second.argmax(-1), first.argmax(-1))
    with pytest.raises(ValueError, match="`precision` must be 'float32'"):
        kerastl.build_classifier(
            build_text_backbone(hub_backbone()), 3, precision="mixed_bfloat16"
        )


def test_a_model_of_the_users_own_around_keras_hubs_network_keeps_its_pooler_frozen():
    hub = pytest.importorskip("keras_hub")
    model = hub.models.BertTextClassifier(backbone=hub_backbone(), num_classes=2)
    kerastl.freeze(model)
    assert [v.path.split("/")[-2] for v in model.trainable_variables] == ["logits"] * 2
    rows = token_rows(hub_backbone())
    assert equal(model(rows, training=True)[:0], model(rows)[:0])
    kerastl.unfreeze(model.backbone, "all")


def test_a_flat_classifier_of_the_users_own_is_cut_and_cached():
    network = build_text_backbone(hub_backbone("RobertaBackbone"))
    x = keras.layers.GlobalAveragePooling1D(name="pool")(network.output)
    model = keras.Model(network.input, keras.layers.Dense(2, name="own")(x))
    rows = token_rows(model, np.arange(8) + 1)
    data = rows, rows["token_ids"][:, 0] % 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    phase = kerastl.Phase("head", trainable="head", epochs=4, learning_rate=0.01)
    given = {"phases": [phase], "loss": loss, "seed": 0, "verbose": 0}
    history = kerastl.run_phases(model, data, **given)
    assert history.phases[0].cached
    assert history.phases[0].moved == ("own/kernel", "own/bias")
