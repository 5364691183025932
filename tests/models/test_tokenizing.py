"""Texts to ids: the pieces that keras-hub finds, one start and one end, the config."""

import json

import numpy as np
import pytest

from kerastl import TextEncoder

PIECES = (
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    + list("abcdefghijklmnopqrstuvwxyz0123456789.,!?'-[]")
    + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    + ["the", "film", "was", "fine", "##ly", "##ing", "un", "##believ", "##able"]
    + ["résumé", "straße", "strasse", "中", "caf", "##é", "cafe"]
)
TEXTS = [
    "The film was fine.",
    "unbelievably FINE, wasn't it?",
    "a\tb\nc   d",
    "Straße résumé café",
    "中文 film中",
    "x" * 101,
    "x" * 100,
    "[SEP] spelled [CLS]",
    "zero​width so­ft",
    "ﬁlm ① Ⅷ",
    "emoji 🎬 here",
    "",
]


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def plain_bpe(texts):
    """The `tokenizers` package's byte-level BPE trained on these texts."""
    tokenizers = pytest.importorskip("tokenizers")
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    trained.train_from_iterator(
        texts * 3, vocab_size=320, show_progress=False, special_tokens=special
    )
    merges = json.loads(trained.to_str())["model"]["merges"]
    return trained, trained.get_vocab(), [" ".join(merge) for merge in merges]


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("strip_accents", [False, True])
def test_word_pieces_are_those_of_keras_hub(hub, lowercase, strip_accents):
    theirs = hub.tokenizers.BertTokenizer(
        vocabulary=PIECES, lowercase=lowercase, strip_accents=strip_accents
    )
    encoder = TextEncoder(theirs)
    expected = [[int(i) for i in row] for row in theirs.tokenize(TEXTS)]
    assert encoder.tokenize(TEXTS) == expected
    assert encoder.lowercase == lowercase


def test_a_space_that_does_not_break_separates_words():
    # Web pages are full of them; BERT's own tokenizer splits there.
    encoder = TextEncoder(PIECES)
    assert encoder.tokenize(["fine\u00a0film"]) == encoder.tokenize(["fine film"])


def test_byte_pairs_are_those_of_the_reference():
    texts = [*TEXTS, "It's  two   spaces 12345 and\n\n lines ", " lead", "日本語!?'s"]
    trained, vocabulary, merges = plain_bpe(texts)
    encoder = TextEncoder(_Pairs(vocabulary, merges))
    # It reads the special pieces in texts; ours takes them for text.
    plain = [text for text in texts if "<" not in text]
    assert encoder.tokenize(plain) == [trained.encode(text).ids for text in plain]
    for text in plain:
        assert encoder.decode(encoder.tokenize([text])[0]) == text


class _Pairs:
    """What the encoder reads of a byte-level BPE tokenizer of keras-hub."""

    add_prefix_space = False
    start_token_id, end_token_id, pad_token_id = 0, 2, 1

    def __init__(self, vocabulary, merges):
        self.vocabulary, self.merges = vocabulary, merges

    def get_vocabulary(self):
        return list(self.vocabulary)


@pytest.mark.parametrize("family", ["Roberta", "GPT2"])
def test_byte_pairs_are_those_of_keras_hub(hub, family):
    texts = ["the film was fine", "It's unbelievably fine, isn't it?", "x 12 y"]
    _, vocabulary, merges = plain_bpe(texts)
    kind = getattr(hub.tokenizers, f"{family}Tokenizer")
    theirs = kind(vocabulary=vocabulary, merges=merges)
    encoder = TextEncoder(theirs)
    assert encoder.tokenize(texts) == [list(map(int, r)) for r in theirs(texts)]
    assert (encoder.start_id, encoder.end_id) == (
        theirs.start_token_id,
        theirs.end_token_id,
    )
    assert encoder.pad_id == theirs.pad_token_id
    assert encoder.names == ("token_ids", "padding_mask")


def proto():
    """A SentencePiece model with the special pieces that DeBERTa wants."""
    sentencepiece = pytest.importorskip("sentencepiece")
    import io

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the film was fine", "it was unbelievably bad"] * 20),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        user_defined_symbols=["[MASK]"],
        minloglevel=2,
    )
    return written.getvalue()


def test_sentence_pieces_are_those_of_keras_hub(hub):
    theirs = hub.tokenizers.DebertaV3Tokenizer(proto=proto())
    encoder = TextEncoder(theirs, sequence_length=12)
    texts = ["the film was fine", "unbelievably"]
    assert encoder.tokenize(texts) == [list(map(int, r)) for r in theirs(texts)]
    again = TextEncoder.from_config(json.loads(json.dumps(encoder.to_config())))
    for name, array in encoder(texts).items():
        np.testing.assert_array_equal(again(texts)[name], array)
    assert again.decode(encoder.tokenize(texts)[0]) == texts[0]
    assert encoder.unknown_id == 3


@pytest.mark.parametrize("truncate", ["head", "tail", "middle"])
def test_each_row_has_one_start_and_one_end(truncate):
    encoder = TextEncoder(PIECES, sequence_length=9, truncate=truncate)
    arrays = encoder(TEXTS)
    ids = arrays["token_ids"]
    assert ids.shape == (len(TEXTS), 9) and ids.dtype == np.int32
    np.testing.assert_array_equal((ids == encoder.start_id).sum(axis=1), 1)
    np.testing.assert_array_equal((ids == encoder.end_id).sum(axis=1), 1)
    assert (ids[:, 0] == encoder.start_id).all()
    # The mask is of places: as many as there are pieces, and the end is the last.
    lengths = [min(len(row), 7) + 2 for row in encoder.tokenize(TEXTS)]
    np.testing.assert_array_equal(arrays["padding_mask"].sum(axis=1), lengths)
    assert (ids[np.arange(len(ids)), np.array(lengths) - 1] == encoder.end_id).all()
    assert arrays["segment_ids"].max() == 0


def test_what_is_kept_of_a_long_text():
    encoder = TextEncoder(PIECES, sequence_length=5)
    letters = "a b c d e f g"
    kept = {}
    for truncate in ("head", "tail", "middle"):
        row = encoder.changed(truncate=truncate)([letters])["token_ids"][0]
        kept[truncate] = [encoder.vocabulary[i] for i in row[1:-1]]
    assert kept == {
        "head": ["a", "b", "c"],
        "tail": ["e", "f", "g"],
        "middle": ["a", "b", "g"],
    }


def test_the_config_travels_as_json():
    encoder = TextEncoder(PIECES, sequence_length=7, truncate="tail", lowercase=True)
    again = TextEncoder.from_config(json.loads(json.dumps(encoder.to_config())))
    assert again == encoder and again.vocabulary == tuple(PIECES)
    assert again.vocabulary_sum == encoder.vocabulary_sum
    for name, array in encoder(TEXTS).items():
        np.testing.assert_array_equal(again(TEXTS)[name], array)


def test_the_sum_depends_on_the_order_and_the_case():
    one = TextEncoder(PIECES, lowercase=True)
    swapped = [*PIECES[:-2], PIECES[-1], PIECES[-2]]
    assert TextEncoder(swapped, lowercase=True).vocabulary_sum != one.vocabulary_sum
    assert TextEncoder(PIECES, lowercase=False).vocabulary_sum != one.vocabulary_sum
    assert one.changed(sequence_length=9).vocabulary_sum == one.vocabulary_sum
    config = one.to_config()
    config["pieces"] = swapped
    with pytest.raises(ValueError, match="the vocabulary of sum"):
        TextEncoder.from_config(config)


def test_a_file_of_pieces_is_read(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    assert TextEncoder(path).vocabulary == tuple(PIECES)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        TextEncoder(tmp_path / "none.txt")


def test_words_in_a_text_are_those_of_the_text():
    words = ["the", "unbelievable", "film", "!"]
    encoder = TextEncoder(PIECES)
    flat = [i for word in encoder.tokenize_words(words) for i in word]
    assert flat == encoder.tokenize([" ".join(words)])[0]
    _, vocabulary, merges = plain_bpe(["the unbelievable film !"])
    encoder = TextEncoder(_Pairs(vocabulary, merges))
    flat = [i for word in encoder.tokenize_words(words) for i in word]
    assert flat == encoder.tokenize([" ".join(words)])[0]


def test_another_vocabulary_than_the_networks_is_refused():
    encoder = TextEncoder(PIECES)
    encoder.check_rows(len(PIECES))
    for rows in (len(PIECES) - 1, len(PIECES) + 1):
        with pytest.raises(ValueError, match=f"embedding has {rows} rows"):
            encoder.check_rows(rows)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TextEncoder(["a", "b"]), ValueError, r"\[CLS\]"),
        (lambda: TextEncoder([*PIECES, "the"]), ValueError, "that differ"),
        (lambda: TextEncoder(7), TypeError, "a tokenizer of keras-hub"),
        (lambda: TextEncoder([1, 2]), TypeError, "a list of strings"),
        (lambda: TextEncoder(PIECES, sequence_length=2), ValueError, "at least 3"),
        (lambda: TextEncoder(PIECES, truncate="end"), ValueError, "'head'"),
        (lambda: TextEncoder(PIECES, names=["ids"]), ValueError, "'token_ids'"),
        (lambda: TextEncoder(PIECES)("a text"), TypeError, "Pass a list"),
        (lambda: TextEncoder(PIECES)(["a", None]), TypeError, "NoneType at 1"),
        (lambda: TextEncoder.from_config({"form": "x"}), ValueError, "Update kerastl"),
    ],
)
def test_what_does_not_fit_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()
