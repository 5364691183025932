"""Text networks of keras-hub: built, frozen, cut, copied, saved."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from texts import (
    FAMILIES,
    FLAT,
    MASKED,
    arrays,
    equal,
    few_first,
    hub_backbone,
    padded,
    token_rows,
)

import kerastl
from kerastl.models.blocks import cut_points, inner_cut_points, split_model
from kerastl.models.freezing import head_layers, leaf_layers, model_blocks
from kerastl.models.text_backbones import (
    build_text_backbone,
    check_padding_is_ignored,
    sequence_output,
)
from kerastl.models.text_layers import find_tokens
from kerastl.models.text_registry import TEXT_REGISTRY, match_text_preset

each_family = pytest.mark.parametrize("name", few_first(FAMILIES))
STEM_LAST = {"DebertaV3Backbone": "rel_embedding"}


@cache
def backbone(name):
    """The network as kerastl builds it; tests that change it take a copy."""
    return build_text_backbone(hub_backbone(name))


@each_family
def test_it_computes_what_keras_hub_computes(name):
    network = backbone(name)
    rows = token_rows(network)
    assert equal(network(rows), hub_backbone(name)(rows))
    mine = {id(weight) for weight in network.weights}
    assert not mine & {id(weight) for weight in hub_backbone(name).weights}


@each_family
def test_each_transformer_layer_is_a_block_and_the_embeddings_are_the_stem(name):
    spec, network = TEXT_REGISTRY[name], backbone(name)
    kind = {
        "AlbertBackbone": ["group_0_inner_layer_0"],
        "DebertaV3Backbone": [
            f"disentangled_attention_encoder_layer_{i}" for i in (0, 1, 2)
        ],
        "FNetBackbone": [f"f_net_layer_{i}" for i in (0, 1, 2)],
        "GemmaBackbone": [f"decoder_block_{i}" for i in (0, 1, 2)],
    }.get(name, [f"transformer_layer_{i}" for i in (0, 1, 2)])
    expected = ["stem", *kind, *(["pooler"] if spec.pooler else [])]
    assert list(model_blocks(network)) == expected
    # keras-hub's own object has the same.
    assert list(model_blocks(hub_backbone(name))) == expected
    layers = {layer.name for layer in leaf_layers(network) if layer.weights}
    stem = {layer for layer in layers if "embedding" in layer}
    assert stem == layers & set(model_blocks(network)["stem"])
    assert STEM_LAST.get(name, next(iter(stem))) in stem


def numbered(kind):
    return [f"{kind}_{i}" for i in range(3)]


@each_family
def test_freezing_a_backbone_leaves_nothing_to_train_and_no_noise(name):
    network = build_text_backbone(backbone(name))
    rows = token_rows(network)
    assert head_layers(network) == head_layers(hub_backbone(name)) == ()
    kerastl.unfreeze(network, "all")
    # Gemma's and FNet's dropout is somewhere too: the rate is 0.3 in all of them.
    assert not equal(network(rows, training=True), network(rows, training=True))
    kerastl.freeze(network)
    assert not network.trainable_variables
    assert equal(network(rows, training=True), network(rows, training=True))
    assert equal(network(rows, training=True), network(rows))


@pytest.mark.filterwarnings("ignore:.*is one layer, called")
@each_family
def test_the_top_block_opens_alone_and_never_the_embeddings(name):
    network = build_text_backbone(backbone(name))
    parts = model_blocks(network)
    for count in range(1, len(parts)):
        kerastl.unfreeze(network, count)
        trained = {v.path.split("/")[-1] for v in network.trainable_variables}
        assert trained
        open_blocks = [
            r.block for r in kerastl.trainable_report(network).rows if r.trainable
        ]
        assert open_blocks == list(parts)[len(parts) - count :]
    layers = {layer.name: layer for layer in leaf_layers(network)}
    assert not any(layers[n].trainable_variables for n in parts["stem"])


def test_the_shared_layer_of_albert_is_one_block_and_that_is_said():
    network = build_text_backbone(backbone("AlbertBackbone"))
    with pytest.warns(UserWarning, match=r"one layer, called 3 times: .* whole depth"):
        kerastl.unfreeze(network, 2)
    assert "group_0_inner_layer_0 is one layer, called 3 times" in str(
        kerastl.trainable_report(network)
    )
    rows = {row.block: row.calls for row in kerastl.trainable_report(network).rows}
    assert rows == {"stem": 1, "group_0_inner_layer_0": 3, "pooler": 1}


@pytest.mark.parametrize("name", ["GemmaBackbone", "LlamaBackbone", "BertBackbone"])
def test_the_norm_group_knows_the_normalisations_of_keras_hub(name):
    network = build_text_backbone(backbone(name))
    kerastl.train_only(network, "norm")
    trained = {id(v) for v in network.trainable_variables}
    norms = [
        v
        for v in network.weights
        if "norm" in v.path.rsplit("/", 2)[-2] and v.name in ("scale", "gamma", "beta")
    ]
    per_layer = {"GemmaBackbone": 2, "LlamaBackbone": 2, "BertBackbone": 4}[name]
    around = {"GemmaBackbone": 1, "LlamaBackbone": 1, "BertBackbone": 2}[name]
    assert len(norms) == 3 * per_layer + around
    assert trained == {id(v) for v in norms}


@pytest.mark.parametrize("name", few_first(FLAT))
def test_the_two_parts_at_each_cut_are_the_whole(name):
    network = backbone(name)
    rows = token_rows(network)
    whole = network(rows)
    blocks = [n for n in cut_points(network) if "layer_" in n and "norm" not in n]
    shared = TEXT_REGISTRY[name].shared
    assert len([b for b in blocks if b[-1].isdigit()]) == (0 if shared else 3)
    for cut in inner_cut_points(network):
        prefix, suffix = split_model(network, cut)
        carried = prefix(rows)
        assert equal(suffix(carried), whole), cut


@each_family
def test_a_file_gives_the_same_outputs_and_can_be_frozen(name, tmp_path):
    network = build_text_backbone(backbone(name))
    rows = token_rows(network)
    kerastl.freeze(network)
    network.save(tmp_path / "text.keras")
    loaded = keras.models.load_model(tmp_path / "text.keras")
    assert equal(loaded(rows), network(rows))
    assert list(model_blocks(loaded)) == list(model_blocks(network))
    kerastl.freeze(loaded)
    assert not loaded.trainable_variables
    assert equal(loaded(rows, training=True), network(rows))


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("name", few_first(MASKED))
def test_padding_changes_nothing_of_the_real_tokens(name, value):
    network = backbone(name)
    rows = token_rows(network)
    real = rows["padding_mask"].astype(bool)
    short = arrays(keras.Model(network.input, sequence_output(network))(rows))[0]
    long = arrays(
        keras.Model(network.input, sequence_output(network))(padded(rows, 5, value))
    )[0]
    np.testing.assert_allclose(long[:, :10][real], short[real], atol=1e-5)
    check_padding_is_ignored(network, "length")


def test_the_one_family_without_a_mask_changes_and_is_refused():
    network = backbone("FNetBackbone")
    rows = token_rows(network)
    part = keras.Model(network.input, sequence_output(network))
    short, long = arrays(part(rows))[0], arrays(part(padded(rows, 5)))[0]
    assert np.abs(long[0, :10] - short[0]).max() > 0.1
    with pytest.raises(ValueError, match="FNet takes no mask, so that padding changes"):
        check_padding_is_ignored(network, "length")


def test_what_is_no_text_network_of_a_known_family_is_refused():
    with pytest.raises(
        ValueError, match="`backbone` must be a network of BERT, RoBERTa"
    ):
        build_text_backbone(
            keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        )
    with pytest.raises(TypeError, match="a Backbone of keras-hub or the name"):
        build_text_backbone(3)
    with pytest.raises(ValueError, match="`image_size` must be left out for a network"):
        kerastl.build_backbone(hub_backbone(), image_size=32)
    network = kerastl.build_backbone(hub_backbone())
    assert find_tokens(network).vocabulary_size == 40


@pytest.mark.parametrize(
    ("preset", "family"),
    [
        ("bert_tiny_en_uncased", "BERT"),
        ("distil_bert_base_en", "DistilBERT"),
        ("roberta_base_en", "RoBERTa"),
        ("xlm_roberta_base_multi", "XLM-R"),
        ("gpt2_base_en", "GPT-2"),
        ("llama2_7b_en", "Llama"),
        ("MobileNet", None),
        ("bert", None),
    ],
)
def test_a_presets_name_tells_the_family(preset, family):
    found = match_text_preset(preset)
    assert (found and found.name) == family


def test_a_presets_folder_is_read(tmp_path):
    hub_backbone().save_to_preset(str(tmp_path / "own"))
    with pytest.warns(UserWarning, match="brings no tokenizer"):
        network = kerastl.build_backbone(tmp_path / "own")
    rows = token_rows(network)
    assert equal(network(rows), hub_backbone()(rows))
    assert find_tokens(network).weights_source == "own"


def test_without_keras_hub_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"Install it: pip install 'kerastl\[hub\]'"):
        kerastl.build_backbone("bert_tiny_en_uncased")


def test_a_file_is_read_where_keras_hub_was_not_imported(tmp_path):
    backbone("BertBackbone").save(tmp_path / "text.keras")
    code = (
        "import sys, kerastl; from kerastl.models.weights import read_model_file; "
        "assert 'keras_hub' not in sys.modules; "
        f"model = read_model_file({str(tmp_path / 'text.keras')!r}, 'path', 'x'); "
        "print(len(model.weights))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout.split()[-1]) == len(backbone("BertBackbone").weights)


def test_the_table_in_the_documentation_is_the_registry():
    page = Path(__file__).parents[2] / "docs" / "text_networks.md"
    lines = [x.strip("|").split("|") for x in page.read_text().splitlines()]
    rows = {cells[1].strip(" `"): cells for cells in lines if len(cells) == 7}
    assert set(rows) - {"class of keras-hub", "---"} == set(TEXT_REGISTRY)
    for backbone_, spec in TEXT_REGISTRY.items():
        name, _, block, *told = (cell.strip(" `") for cell in rows[backbone_])
        assert name == spec.name and re.fullmatch(spec.block, block)
        yes = {True: "yes", False: "no"}
        form = "flat" if spec.flat else "nested"
        expected = [yes[bool(spec.pooler)], yes[spec.has_mask], str(spec.pad_id), form]
        assert told == expected, name
