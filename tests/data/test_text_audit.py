"""What is wrong with texts: copies, conflicts, leaks, lengths, vocabularies."""

import pytest

from kerastl import Splits, TextEncoder, TextSet, audit
from kerastl.data.texts import WordTags

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film", "dull", "##s"]
NAMES = ("bad", "good")


def encoder(**options):
    return TextEncoder(PIECES, **{"sequence_length": 5, **options})


def test_copies_conflicts_and_counts_are_found():
    texts = ["a film", "A  FILM", "a fine film", "dull", "Dull ", "fine"]
    report = audit(TextSet(texts, [1, 1, 1, 0, 1, 0], NAMES), smallest_class=3)
    assert report.duplicates == (("text 0 ('a film')", "text 1 ('A FILM')"),)
    assert report.conflicts == (("text 3 ('dull')", "text 4 ('Dull')"),)
    assert report.counts == {"bad": 2, "good": 4}
    assert report.small_classes == ("bad",)
    # What the constant answer gets.
    assert report.majority == pytest.approx(4 / 6)
    assert not report.ok and "copies with different labels: 1" in str(report)


def test_texts_of_tagged_words_have_no_one_constant_answer():
    tags = WordTags([["a", "film"], ["dull"]], [["O", "B-thing"], ["O"]])
    report = audit(TextSet(["a film", "dull"], tags), smallest_class=0)
    assert report.counts == {"O": 2, "B-thing": 1} and report.majority is None


def test_a_copy_in_another_part_is_a_leak():
    train = TextSet(["a film", "dull one"], [1, 0], NAMES)
    test = TextSet(["A FILM", "fine one"], [1, 0], NAMES)
    report = audit(Splits(train, None, test), smallest_class=0)
    assert report.leaks == (("text 0 ('a film')", "text 2 ('A FILM')"),)
    assert report.duplicates == () and not report.ok


def test_what_an_encoder_cuts_off_and_does_not_know_is_a_share():
    texts = TextSet(["a fine film", "a fine dull film", "films", "a xyz"])
    report = audit(texts, encoder=encoder(), smallest_class=0)
    # 3, 4, 2 and 2 pieces; 3 have room.
    assert report.pieces == (4.0, 4.5, 6.0) and report.over_length == 1 / 4
    assert report.unknown == pytest.approx(1 / 11)
    assert report.pieces_a_word == pytest.approx(11 / 10)
    assert "another language or script" in report.notes[0]


def test_a_vocabulary_of_another_case_or_language_is_said():
    texts = TextSet(["A Fine Film", "a film"])
    told = audit(texts, encoder=encoder(lowercase=False), smallest_class=0).notes
    assert any("lowercase=True" in note for note in told)
    assert audit(texts, encoder=encoder(), smallest_class=0).ok
    letters = [*PIECES[:4], *"abcdefg", *(f"##{c}" for c in "abcdefg")]
    report = audit(
        TextSet(["abcdefg gfedcba"]), encoder=TextEncoder(letters), smallest_class=0
    )
    assert report.pieces_a_word == 7 and "7.0 pieces" in report.notes[0]


def test_a_table_is_audited_as_it_is(tmp_path):
    path = tmp_path / "r.csv"
    rows = ["a fine film,good", "A fine film ,bad", " ,good", "so dull,bad"]
    path.write_text("\n".join(["said,label", *rows]))
    report = audit(path, smallest_class=0)
    assert (report.num_texts, report.empty) == (3, 1)
    assert len(report.conflicts) == 1 and report.to_dict()["ok"] is False
    assert "rows without a text: 1" in str(report)
