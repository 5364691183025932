"""The bundled network of texts: its file, its record, its card, what it computes."""

import hashlib
import io
import json
import shutil
import zipfile
from functools import cache
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from numpy_bert import numpy_bert, weights_of
from texts import arrays

import kerastl
import kerastl.models.weights as weights_module
from kerastl.features import FeatureExtractor
from kerastl.models.record import read_encoder
from kerastl.models.text_backbones import is_text_network
from kerastl.models.text_layers import find_tokens

TINY = Path(weights_module.__file__).parent / "tiny"
RECORD = json.loads((TINY / "texts.json").read_text("utf-8"))
FILE = TINY / RECORD["file"]


@cache
def network():
    """The network as it is bundled; nobody may change it."""
    pytest.importorskip("keras_hub")
    return kerastl.build_backbone("MiniText")


def stored():
    """The arrays of the file, as they are stored."""
    with zipfile.ZipFile(FILE) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    found = []
    with h5py.File(content) as file:
        file.visititems(
            lambda name, item: (
                found.append(item[()]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def test_the_file_is_small_and_the_one_of_the_record():
    assert FILE.stat().st_size <= 7_000_000
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == RECORD["sha256"]
    assert weights_module.bundled_texts() == FILE


def test_the_card_names_teacher_licence_and_texts():
    card = (TINY / "README.md").read_text("utf-8")
    assert RECORD["file"] in card
    assert RECORD["teacher"] in card and "Apache-2.0" in card
    assert all(name in card for name in RECORD["texts"])


def test_matrices_are_stored_in_half_precision_and_computed_in_float32():
    held = stored()
    assert {a.dtype for a in held if a.ndim > 1} == {np.dtype("float16")}
    assert sum(a.size for a in held) == RECORD["parameters"]
    made = network().weights
    assert {w.dtype for w in made} == {"float32"}
    as_bytes = {a.astype("float32").tobytes() for a in held}
    assert {w.tobytes() for w in arrays(made)} == as_bytes


def test_the_record_says_its_shape():
    tokens, encoder = find_tokens(network()), read_encoder(network())
    assert is_text_network("MiniText")
    assert (tokens.backbone, tokens.weights_source) == ("BertBackbone", "MiniText")
    assert tokens.vocabulary_size == encoder.vocabulary_size == RECORD["vocabulary"]
    assert network().count_params() == RECORD["parameters"]
    layers = [x for x in network().layers if x.name.startswith("transformer_layer")]
    assert len(layers) == RECORD["layers"]
    assert network().output["sequence_output"].shape[-1] == RECORD["width"]
    assert encoder.lowercase and tokens.max_length == RECORD["positions"]


def test_it_computes_what_bert_in_numpy_computes():
    encoder = read_encoder(network()).changed(sequence_length=24)
    rows = encoder(["A fine film!", "Where is my card, and why does it take so long?"])
    sequence, _ = numpy_bert(weights_of(network()), rows, layers=RECORD["layers"])
    found = arrays(network()(rows)["sequence_output"])[0]
    real = rows["padding_mask"]
    np.testing.assert_allclose(found[real], sequence[real], atol=1e-4)


def test_it_says_of_texts_what_it_said_where_it_was_trained():
    check = RECORD["check"]
    rows = FeatureExtractor(network()).fit_transform(check["texts"])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, check["cosines"], atol=5e-3)


def test_texts_alike_in_sense_are_nearer_than_texts_alike_in_words():
    texts = ["The food was delicious.", "A very tasty meal!", "The food was late."]
    rows = FeatureExtractor(network()).fit_transform(texts)
    rows = rows - FeatureExtractor(network()).fit_transform(
        RECORD["check"]["texts"]
    ).mean(0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert rows[0] @ rows[1] > rows[1] @ rows[2]


def test_its_length_is_what_is_asked_for_and_its_pieces_are_its_own():
    pytest.importorskip("keras_hub")
    short = kerastl.build_backbone("MiniText", sequence_length=8)
    assert read_encoder(short).sequence_length == 8
    other = kerastl.TextEncoder(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "film"])
    with pytest.raises(ValueError, match=f"whose embedding has {RECORD['vocabulary']}"):
        kerastl.build_backbone("MiniText", encoder=other)


def test_a_new_head_starts_at_chance():
    model = kerastl.build_classifier(network(), ("bad", "good", "neither"))
    logits = model(read_encoder(model)(["A fine film"]))
    assert not np.any(keras.ops.convert_to_numpy(logits))


def test_a_damaged_file_is_noticed(tmp_path, monkeypatch):
    shutil.copytree(TINY, tmp_path / "tiny")
    damaged = tmp_path / "tiny" / RECORD["file"]
    content = bytearray(damaged.read_bytes())
    content[100_000] ^= 1
    damaged.write_bytes(bytes(content))
    monkeypatch.setattr(weights_module, "BUNDLED_FOLDER", tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"undamaged file \(sha256"):
        kerastl.build_backbone("MiniText")
