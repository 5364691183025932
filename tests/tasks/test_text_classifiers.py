"""Classifiers and regressors on text networks, from arrays of token ids."""

import re
from functools import cache

import keras
import numpy as np
import pytest
from texts import arrays, equal, hub_backbone, padded, token_rows

import kerastl
from kerastl._compat import sublayers
from kerastl.features.cache import cached_part
from kerastl.features.sources import make_source
from kerastl.models.freezing import model_blocks
from kerastl.models.record import read_record
from kerastl.models.text_backbones import build_text_backbone, pool_tokens
from kerastl.models.text_layers import TokenPooling, find_tokens

NAMES = ("bad", "fine", "good")


@cache
def backbone(name="BertBackbone"):
    return build_text_backbone(hub_backbone(name))


@cache
def plain_classifier(name="BertBackbone", pooling="mean"):
    """Nobody may change it."""
    return kerastl.build_classifier(
        build_text_backbone(backbone(name)), NAMES, pooling=pooling, dropout=0.0
    )


def labelled(model, count=12):
    lengths = np.arange(count) % 10 + 1
    rows = token_rows(model, lengths, seed=3)
    return rows, rows["token_ids"][:, 0] % 3


def head_phase(**options):
    given = {"epochs": 2, "learning_rate": 0.05, "trainable": "head"} | options
    return kerastl.Phase("phase", **given)


def quiet(model):
    """Turn the top layer's dropout off: noise is drawn in another order when cached."""
    for layer in sublayers(model.get_layer("transformer_layer_2")):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def numpy_pooling(sequence, mask, pooling):
    rows = []
    for vectors, real in zip(sequence, mask.astype(bool), strict=True):
        kept = vectors[real]
        rows.append({"mean": kept.mean(0), "cls": kept[0], "last": kept[-1]}[pooling])
    return np.stack(rows)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_counts_the_real_tokens_alone(pooling, side):
    rng = np.random.default_rng(0)
    sequence = rng.normal(size=(4, 10, 3)).astype("float32")
    rows = token_rows(backbone(), side=side)
    mask = rows["padding_mask"]
    made = arrays(TokenPooling(pooling)([sequence, mask]))[0]
    np.testing.assert_allclose(made, numpy_pooling(sequence, mask, pooling), rtol=1e-5)
    # What stands at the padding does not count.
    sequence[mask == 0] = 1e6
    np.testing.assert_array_equal(
        arrays(TokenPooling(pooling)([sequence, mask]))[0], made
    )


def test_pooling_in_half_precision_adds_up_in_float32():
    ones = np.full((1, 4000, 1), 1.001, "float32")
    half = keras.ops.cast(ones, "bfloat16")
    made = arrays(TokenPooling("mean")([half, np.ones((1, 4000), "int32")]))[0]
    expected = arrays(keras.ops.cast(half[0, 0, 0], "float32"))[0]
    # Added up in half precision it would stop at 256 ones.
    np.testing.assert_allclose(made[0, 0], expected, rtol=1e-4)
    assert made.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("BertBackbone", "mean"),
        ("BertBackbone", "pooler"),
        ("GPT2Backbone", "last"),
        ("DebertaV3Backbone", "cls"),
    ],
)
def test_the_first_loss_is_log_c_and_padding_changes_no_logit(name, pooling):
    model = plain_classifier(name, pooling)
    rows, labels = labelled(model)
    loss = model.evaluate(rows, labels, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(np.log(3), abs=1e-6)
    assert read_record(model).pooling == pooling
    trained = [v.path for v in model.trainable_variables]
    assert trained == ["head_dense/kernel", "head_dense/bias"]
    # A head that says something.
    learnt = keras.models.clone_model(model)
    rng = np.random.default_rng(1)
    learnt.set_weights(model.get_weights())
    kernel = learnt.get_layer("head_dense").kernel
    kernel.assign(rng.normal(size=kernel.shape))
    short, long = arrays(learnt(rows))[0], arrays(learnt(padded(rows, 5, 7)))[0]
    np.testing.assert_allclose(long, short, atol=2e-5)
    assert np.abs(short).max() > 0.1


def test_a_decoder_reads_its_last_real_token_on_both_sides():
    network = backbone("GPT2Backbone")
    sequence = network.output
    pooled = pool_tokens(network, sequence, "last", "pool")
    model = keras.Model(network.input, pooled)
    right = token_rows(network, (4, 7))
    alone = [
        arrays(model({k: v[i : i + 1, :n] for k, v in right.items()}))[0]
        for i, n in enumerate((4, 7))
    ]
    made = arrays(model(right))[0]
    np.testing.assert_allclose(made, np.concatenate(alone), atol=1e-5)
    # GPT-2 counts its positions from the left edge, so texts on the right are others to
    # it; the layer takes their last token all the same.
    left = token_rows(network, (4, 7), side="left")
    last = arrays(keras.Model(network.input, sequence)(left))[0][:, -1]
    np.testing.assert_array_equal(arrays(model(left))[0], last)


def test_a_pooling_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`pooling` must be one of 'mean', 'cls'"):
        kerastl.build_classifier(backbone(), NAMES, pooling="max")
    with pytest.raises(ValueError, match="Its authors trained no pooler"):
        kerastl.build_classifier(backbone("GPT2Backbone"), NAMES, pooling="pooler")
    with pytest.raises(ValueError, match="`resize` must be left out for a network of"):
        kerastl.build_classifier(backbone(), NAMES, resize="crop")


def test_the_pooler_is_a_block_and_no_head():
    model = plain_classifier(pooling="pooler")
    assert list(model_blocks(model))[-1] == "pooler"
    rows = {row.block: row for row in kerastl.trainable_report(model).rows}
    assert rows["pooler"].parameters > 0 == rows["pooler"].trainable
    # Without it, it is not in the model at all.
    assert "pooler" not in model_blocks(plain_classifier())


def test_two_models_on_one_backbone_share_no_weights():
    network = build_text_backbone(backbone())
    first = kerastl.build_classifier(network, NAMES)
    second = kerastl.build_classifier(network, NAMES)
    assert not {id(w) for w in first.weights} & {id(w) for w in second.weights}


@pytest.mark.parametrize("change", ["more", "fewer"])
@pytest.mark.parametrize("form", ["arrays", "stream"])
def test_a_key_too_many_or_too_few_is_refused(change, form):
    model = plain_classifier()
    rows, labels = labelled(model)
    if change == "more":
        rows = {**rows, "length": rows["token_ids"]}
        told = "It has no 'length'"
    else:
        rows = {k: v for k, v in rows.items() if k != "segment_ids"}
        told = "It lacks 'segment_ids'"
    data = rows, labels
    if form == "stream":
        tf = pytest.importorskip("tensorflow")
        data = tf.data.Dataset.from_tensor_slices(data).batch(4)
    before = model.get_weights()
    with pytest.raises(ValueError, match=told):
        kerastl.run_phases(model, data, phases=[head_phase()], verbose=0)
    assert all(
        np.array_equal(*p) for p in zip(before, model.get_weights(), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token_ids": 40}, "`token_ids` from 0 to 39. Received: train=.*40"),
        ({"padding_mask": 2}, "a `padding_mask` of 1"),
    ],
)
def test_ids_and_masks_that_are_none_are_refused(change, told):
    model = plain_classifier()
    rows, labels = labelled(model)
    for name, value in change.items():
        rows[name] = rows[name].copy()
        rows[name][0, 0] = value
    with pytest.raises(ValueError, match=told):
        make_source(model, (rows, labels), "train")


def test_a_phase_changes_what_it_names_and_nothing_else():
    model = kerastl.build_classifier(build_text_backbone(backbone()), NAMES)
    data = labelled(model)
    phases = [
        head_phase(),
        kerastl.Phase("top", trainable=1, epochs=1, learning_rate=1e-3),
    ]
    before = {w.path: np.array(w) for w in model.weights}
    history = kerastl.run_phases(model, data, phases=phases, seed=0, verbose=0)
    moved = {w.path for w in model.weights if not np.array_equal(w, before[w.path])}
    assert history.phases[0].moved == ("head_dense/kernel", "head_dense/bias")
    assert history.phases[0].cached
    assert {path.split("/")[0] for path in moved} == {
        "transformer_layer_2",
        "head_dense",
    }
    # A bias of the keys changes no attention: softmax does not see it.
    still = {v.path for v in model.trainable_variables} - moved
    assert still <= {"transformer_layer_2/self_attention_layer/key/bias"}


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_cached_training_gives_the_same_weights(where, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path))
    network = build_text_backbone(hub_backbone("BertBackbone"))
    start = kerastl.build_classifier(network, NAMES, dropout=0.0)
    quiet(start)
    data = labelled(start, 16)
    begun = start.get_weights()
    # By plain steps: Adam makes large ones of rounding where a gradient is zero.
    given = {"epochs": 2, "learning_rate": 1e-2, "optimizer": "sgd"}
    phase = kerastl.Phase("top", trainable=1, **given)
    found = []
    for cache_mode in ("off", where):
        start.set_weights(begun)
        options = {"batch_size": 8, "seed": 0, "verbose": 0, "cache": cache_mode}
        history = kerastl.run_phases(start, data, phases=[phase], **options)
        assert history.phases[0].cached == (cache_mode != "off"), history.phases[
            0
        ].cache
        found.append([np.array(w) for w in start.weights])
    assert "transformer_layer_1" in history.phases[0].cache
    # TensorFlow joins other operations in a graph of another size.
    atol = 0 if keras.backend.backend() == "jax" else 1e-6
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)
    assert not all(map(np.array_equal, found[0], begun))


def test_the_cached_part_takes_the_mask_along():
    model = plain_classifier()
    source = make_source(model, labelled(model), "train")
    kerastl.unfreeze(model, 1)
    frozen = cached_part(model, source, None, epochs=5, batch_size=4, cache="memory")
    kerastl.freeze(model)
    assert sorted(shape for shape, _ in frozen.train.spec.values()) == [(10,), (10, 16)]
    rows = frozen.train.rows(np.arange(4))
    whole = model({k: v[:4] for k, v in source.arrays.items()})
    assert equal(frozen.part(rows), whole)


def test_a_file_keeps_record_flags_and_outputs(tmp_path):
    for name in ("BertBackbone", "DebertaV3Backbone"):
        model = kerastl.build_classifier(
            build_text_backbone(backbone(name)), NAMES, pooling="cls"
        )
        kerastl.unfreeze(model, 1)
        kerastl.save_model(model, tmp_path / "text.keras")
        loaded = kerastl.load_model(tmp_path / "text.keras")
        assert read_record(loaded) == read_record(model)
        assert read_record(loaded).pooling == "cls"
        paths = [v.path for v in model.trainable_variables]
        assert [v.path for v in loaded.trainable_variables] == paths
        rows, _ = labelled(model)
        assert equal(loaded(rows), model(rows))
        kerastl.freeze(model)
        kerastl.save_model(model, tmp_path / "text.keras")
        frozen = kerastl.load_model(tmp_path / "text.keras")
        assert len(frozen.trainable_variables) == 2
        below = keras.Model(frozen.input, frozen.get_layer("head_pool_cls").output)
        assert equal(below(rows, training=True), below(rows))


def test_another_model_starts_from_a_tuned_ones_file(tmp_path):
    for pooling in ("mean", "pooler"):
        model = plain_classifier(pooling=pooling)
        kerastl.save_model(model, tmp_path / "text.keras")
        with pytest.warns(UserWarning, match=r"The head of .*bert.* is left out"):
            again = kerastl.build_classifier(
                tmp_path / "text.keras", 2, pooling=pooling
            )
        old, new = (
            keras.Model(m.input, m.get_layer("head_dense").input)
            for m in (model, again)
        )
        rows, _ = labelled(model)
        np.testing.assert_array_equal(arrays(new(rows))[0], arrays(old(rows))[0])


def test_a_regressor_begins_with_the_mean_and_a_loss_of_one():
    targets = np.linspace(-1, 3, 12)
    network = build_text_backbone(backbone())
    model = kerastl.build_regressor(network, targets, names=["stars"])
    rows, _ = labelled(model)
    scores = model.evaluate(rows, targets[:, None], verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(arrays(model(rows))[0], 1.0, atol=1e-6)


def test_the_record_says_where_the_weights_come_from():
    adapted = r"bert_backbone(_\d+)? \(adapted\)"
    assert re.fullmatch(adapted, find_tokens(backbone()).weights_source)
    record = read_record(plain_classifier())
    assert re.fullmatch(adapted, record.weights)
    assert record.weights == f"{record.backbone} (adapted)"


@pytest.mark.parametrize("said", [("avg", "avg"), ("mean", "avg"), ("cls", "cls")])
def test_a_classical_head_becomes_the_head_of_a_network_of_texts(said):
    built, given = said
    model = kerastl.build_classifier(
        build_text_backbone(backbone()), NAMES, pooling=built, dropout=0.0
    )
    rows, labels = labelled(model)
    pool = model.get_layer("head_dense").input
    features = keras.Model(model.inputs, pool).predict(rows, verbose=0)
    head = kerastl.features.classical_head("ridge").fit(features, labels)
    kerastl.features.set_head(model, head, pooling=given)
    np.testing.assert_allclose(
        model.predict(rows, verbose=0), head.decision_function(features), atol=1e-4
    )
    other = "avg" if built == "cls" else "last"
    with pytest.raises(ValueError, match="head_pool_"):
        kerastl.features.set_head(model, head, pooling=other)
