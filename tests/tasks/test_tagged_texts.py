"""Taggers on texts: words, their places, rows to train on, and entities."""

import contextlib
import io
import json

import numpy as np
import pytest
from text_sets import NOUNS, encoder, text_set
from text_sets import backbone as text_backbone

import kerastl
from kerastl.cli.program import main
from kerastl.data.texts import WordTags
from kerastl.tasks import TaggedTexts, TaggingTask, build_tagger, score_tags
from kerastl.tasks.tagged_texts import split_words, tagged_rows, windows

TAGS = ("O", "B-thing", "I-thing")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*nearly copied"),
    # Of a tagger's file the backbone is taken.
    pytest.mark.filterwarnings("ignore:The head of"),
]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A fine film.", ["A", "fine", "film", "."]),
        (
            "Ada's well-made 3.5, 1,000!",
            ["Ada's", "well-made", "3.5", ",", "1,000", "!"],
        ),
        ("@ada #now https://a.b/c?d", ["@ada", "#now", "https://a.b/c?d"]),
        ("  Zürich + 東京  ", ["Zürich", "+", "東京"]),
        ("\u2026", ["\u2026"]),
    ],
)
def test_words_and_where_they_begin(text, words):
    found = split_words(text)
    assert [word for word, _ in found] == words
    assert all(text[start : start + len(word)] == word for word, start in found)


def tagged(*rows, names=TAGS):
    """Texts of `(word, tag)` pairs."""
    words = [[word for word, _ in row] for row in rows]
    tags = [[tag for _, tag in row] for row in rows]
    texts = tuple(" ".join(row) for row in words)
    return kerastl.TextSet(texts, WordTags(words, tags, names), name="tagged")


ROWS = [
    [("the", "O"), ("films", "B-thing"), ("was", "O"), ("fine", "O")],
    [("lights", "B-thing"), ("sound", "I-thing"), (".", "O")],
]


def test_the_first_piece_of_a_word_has_its_tag_and_nothing_else():
    made = encoder(sequence_length=8)
    rows, asked = tagged_rows(tagged(*ROWS), made, TAGS)
    # "films" and "lights" are two pieces each; a start stands before.
    assert asked.tolist() == [
        [-1, 0, 1, -1, 0, 0, -1, -1],
        [-1, 1, -1, 2, 0, -1, -1, -1],
    ]
    pieces = np.array(made.vocabulary, object)[rows["token_ids"]]
    assert pieces[asked >= 0].tolist() == [
        *["the", "film", "was", "fine"],
        *["light", "sound", "."],
    ]
    assert rows["padding_mask"].sum(axis=1).tolist() == [7, 6]


def test_tags_go_along_with_what_is_kept_of_a_long_text():
    words = [(noun, f"{'B' if i % 2 else 'I'}-thing") for i, noun in enumerate(NOUNS)]
    short = encoder(sequence_length=5)
    for truncate, kept in (("head", [0, 1, 2]), ("tail", [5, 6, 7])):
        made = short.changed(truncate=truncate)
        rows, asked = tagged_rows(tagged(words), made, TAGS)
        assert asked[0].tolist() == [-1, *(2 - i % 2 for i in kept), -1]
        assert made.decode(rows["token_ids"][0]).split() == [NOUNS[i] for i in kept]


def test_the_names_decide_not_the_order_of_the_set():
    first = tagged_rows(tagged(*ROWS), encoder(), TAGS)[1]
    other = tagged(*ROWS, names=("I-thing", "O", "B-thing"))
    assert np.array_equal(tagged_rows(other, encoder(), TAGS)[1], first)


def test_a_long_text_takes_several_rows_and_loses_no_word():
    made = encoder(sequence_length=5)
    words = [NOUNS, ["films", "tones"], []]
    rows, places = windows(words, made)
    assert [len(each) for each in places] == [8, 2, 0]
    ids = rows["token_ids"]
    firsts = [made.vocabulary[ids[row, column]] for row, column in places[0]]
    assert firsts == NOUNS
    # Three pieces a row: a word of two does not begin in the last place.
    assert [made.vocabulary[ids[r, c]] for r, c in places[1]] == ["film", "tone"]
    assert places[1][1, 0] == places[1][0, 0] + 1
    assert len(ids) == 3 + 2 + 1 and (ids[:, 0] == made.start_id).all()


def by_hand(words, starts, chosen, text, names=TAGS):
    """What is said of one text, its tags given as indices."""
    shares = np.full((len(words), len(names)), 0.1)
    shares[np.arange(len(words)), chosen] = [0.9, 0.8, 0.7, 0.6][: len(words)]
    one = (tuple(words),), (tuple(starts),), (shares,)
    return TaggedTexts(names, (text,), *one)


def test_entities_are_cut_from_the_text_as_it_was_written():
    text = "old  London bridge!"
    said = by_hand(["old", "London", "bridge", "!"], (0, 5, 12, 18), [0, 1, 2, 0], text)
    (entity,) = said.entities()[0]
    assert (entity.kind, entity.text) == ("thing", "London bridge")
    assert text[entity.start : entity.stop] == entity.text
    assert entity.probability == pytest.approx(0.7)
    assert said.to_rows()[0].keys() == set(TaggedTexts.columns)
    assert next(iter(said))["tags"] == ["O", "B-thing", "I-thing", "O"]


def test_tags_that_are_no_entities_are_a_row_a_word():
    said = by_hand(["a", "film"], (0, 2), [0, 1], "a film", ("DET", "NOUN"))
    assert [(each.kind, each.text) for each in said.entities()[0]] == [
        ("DET", "a"),
        ("NOUN", "film"),
    ]


@pytest.fixture(scope="module")
def tagger():
    """With a head that says something; nobody may change it."""
    model = build_tagger(text_backbone(), TAGS, dropout=0.0, seed=0)
    head = model.get_layer("head_dense")
    draw = np.random.default_rng(0).normal(size=head.kernel.shape)
    head.set_weights([draw.astype("float32"), np.zeros(len(TAGS), "float32")])
    return model


def test_predictions_are_those_of_the_networks_own_outputs(tagger):
    texts = ["The film was fine .", "lights"]
    said = kerastl.predict(tagger, texts)
    rows = encoder()(texts)
    logits = np.asarray(tagger(rows), "float64")
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(said.probabilities[0], shares[0, 1:6], atol=1e-5)
    # The first of two pieces speaks for the word.
    np.testing.assert_allclose(said.probabilities[1], shares[1, 1:2], atol=1e-5)
    assert said.tags()[0] == [TAGS[i] for i in shares[0, 1:6].argmax(axis=-1)]


def test_a_long_text_is_tagged_as_its_pieces_are(tagger):
    # Eight pieces fit into a row of ten.
    long = " ".join(NOUNS + NOUNS[::-1])
    whole = kerastl.predict(tagger, [long]).probabilities[0]
    halves = [" ".join(NOUNS), " ".join(NOUNS[::-1])]
    parts = kerastl.predict(tagger, halves).probabilities
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)


def test_scores_are_those_of_the_words(tagger):
    texts = tagged(*ROWS)
    report = kerastl.evaluate(tagger, texts)
    said = kerastl.predict(tagger, texts).tags()
    truth = [[tag for _, tag in row] for row in ROWS]
    expected = score_tags(truth, said)
    assert (report.f1, report.accuracy) == (expected.f1, expected.accuracy)
    assert report.tokens == 7
    turned = tagged(*ROWS, names=("I-thing", "O", "B-thing"))
    assert kerastl.evaluate(tagger, turned).accuracy == report.accuracy


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (text_set(), "a tag for each word"),
        (tagged([("a", "B-place")], names=("O", "B-place")), "of tags O, B-thing"),
    ],
)
def test_texts_that_do_not_fit_are_refused(tagger, texts, message):
    with pytest.raises(ValueError, match=message):
        kerastl.evaluate(tagger, texts)
    with pytest.raises(ValueError, match=message):
        kerastl.fine_tune(tagger, texts, recipe="linear_probe", epochs=1)


def test_the_task_is_what_tagged_words_ask():
    assert TaggingTask.from_set(tagged(*ROWS)).class_names == TAGS
    with pytest.raises(ValueError, match="no word of the data has a tag"):
        TaggingTask.from_set(text_set())


def called(*words):
    """Standard output of a command that ends well."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(map(str, words)))
    assert status == 0, err.getvalue()
    return out.getvalue()


def test_from_a_file_of_tagged_words_to_entities_on_the_command_line(tmp_path):
    file, start = tmp_path / "words.conll", tmp_path / "start.keras"
    lines = [f"The O\n{a} B-thing\n{b} I-thing\nwas O\n" for a in NOUNS for b in NOUNS]
    file.write_text("\n".join(lines))
    other = build_tagger(text_backbone(), TAGS, seed=0)
    before = [np.array(w) for w in other.weights]
    kerastl.save_model(other, start)
    options = ["--recipe", "linear_probe", "--epochs", "3", "--learning-rate", "0.1"]
    options += ["--dropout", "0", "--test", "0.2", "--output", tmp_path / "run"]
    out = called("train", file, "--backbone", start, *options, "--json")
    record = json.loads(out.splitlines()[-1])
    assert record["test_f1"] is not None
    path = tmp_path / "run" / "model.keras"
    model = kerastl.load_model(path)
    moved = [
        variable.path.split("/")[-2]
        for variable, old in zip(model.weights, before, strict=True)
        if not np.array_equal(variable, old)
    ]
    assert moved == ["head_dense", "head_dense"]
    text = "The film and light"
    said = kerastl.predict(model, [text])
    out = called("predict", path, text)
    rows = out.splitlines()
    assert rows[0] == ",".join(TaggedTexts.columns)
    assert len(rows) - 1 == len(said.to_rows())
    out = called("predict", path, text, "--jsonl")
    assert json.loads(out.splitlines()[-1])["tags"] == said.tags()[0]
    assert "span F1" in called("evaluate", path, file)
    assert (tmp_path / "run" / "report.html").exists()
