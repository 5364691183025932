"""Texts: sets of them, the ways to read them, and parts that share none."""

import json

import numpy as np
import pytest

import kerastl
from kerastl import TextSet, load_texts, open_data
from kerastl.data.texts import WordTags, near_copies, normalised

NOUNS = ["plot", "cast", "score", "light", "sound", "pace", "tone", "wit", "end"]
NOUNS += ["start", "hero", "sea", "sun"]
ROWS = [(f"The {n} was fine today", "good") for n in NOUNS]
ROWS += [(f"I found its {n} rather dull", "bad") for n in NOUNS]


class Frame:
    """What is asked of a DataFrame."""

    iloc = None

    def __init__(self, columns):
        self.columns = columns

    def __getitem__(self, name):
        return np.array(self.columns[name], object)


def written(path, header=("review", "sentiment"), rows=ROWS, between=","):
    lines = [between.join(header), *(between.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_set_has_the_protocol_of_image_sets():
    texts = TextSet(["b", "a", "c"], ["x", "y", "x"], name="letters")
    assert (len(texts), texts.num_classes, texts.class_names) == (3, 2, ("x", "y"))
    assert texts.counts() == {"x": 2, "y": 1}
    part = texts.subset([2, 1])
    assert part.texts == ("c", "a") and part.labels.tolist() == [0, 1]
    assert part.name == "letters" and not part.multilabel
    numbers = TextSet(["a", "b"], [1.0, 2.5], target_names=("stars",))
    assert numbers.labels.dtype == np.float32 and numbers.counts() == {}
    several = TextSet(["a", "b"], np.array([[1, 1], [0, 1]]), ("x", "y"))
    assert several.multilabel and several.counts() == {"x": 1, "y": 2}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "frame", "folder"])
def test_all_kinds_of_files_give_the_same_parts(tmp_path, ending):
    if ending in ("csv", "tsv"):
        data = written(
            tmp_path / f"r.{ending}", between={"csv": ",", "tsv": "\t"}[ending]
        )
    elif ending == "jsonl":
        data = tmp_path / "r.jsonl"
        lines = [json.dumps({"review": t, "sentiment": s}) for t, s in ROWS]
        data.write_text("\n".join(lines) + "\n")
    elif ending == "frame":
        data = Frame(
            {"review": [t for t, _ in ROWS], "sentiment": [s for _, s in ROWS]}
        )
    else:
        data = tmp_path / "r"
        for number, (text, name) in enumerate(sorted(ROWS, key=lambda row: row[1])):
            file = data / name / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    splits = load_texts(data, validation=0.2, test=0.2, seed=1)
    parts = [dict(zip(p.texts, p.labels.tolist(), strict=True)) for p in splits]
    assert splits.class_names == ("bad", "good")
    expected = {text: int(name == "good") for text, name in ROWS}
    assert parts[0] | parts[1] | parts[2] == expected
    assert sum(map(len, splits)) == len(ROWS) and min(map(len, splits)) >= 4
    opened = open_data(data, validation=0.2, test=0.2, seed=1)
    assert [part.texts for part in opened] == [part.texts for part in splits]


def test_a_changed_copy_never_straddles_two_parts(tmp_path):
    # Every text comes again, in capitals and with other spaces.
    copies = [(f"  {text.upper()} ".replace(" ", "  "), name) for text, name in ROWS]
    path = written(tmp_path / "r.csv", rows=ROWS + copies)
    for seed in range(5):
        parts = load_texts(path, validation=0.3, test=0.3, seed=seed)
        held = [{normalised(text) for text in part.texts} for part in parts]
        assert [len(part) for part in parts] == [2 * len(each) for each in held]
        assert sum(map(len, held)) == len(set().union(*held)) == len(ROWS)


def test_copies_that_disagree_are_left_out(tmp_path):
    path = written(
        tmp_path / "r.csv", rows=[*ROWS, ("the PLOT was fine  today", "bad")]
    )
    with pytest.warns(UserWarning, match="Dropped 2 texts: equal content"):
        splits = load_texts(path)
    texts = [text for part in splits if part for text in part.texts]
    assert len(texts) == len(ROWS) - 1


def test_texts_that_are_nearly_copies_are_reported(tmp_path):
    long = "a rather long text about {} that is nearly the same each time it comes"
    rows = [(long.format(n), ("good", "bad")[i % 2]) for i, n in enumerate(NOUNS)]
    path = written(tmp_path / "r.csv", rows=rows)
    with pytest.warns(UserWarning, match="nearly copied from the training texts"):
        load_texts(path)


def test_near_copies_are_all_those_of_the_definition():
    random = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    texts = [" ".join(random.choice(words, 12)) for _ in range(30)]
    for text in texts[:15]:
        cells = text.split()
        cells[int(random.integers(12))] = str(random.choice(words))
        texts.append(" ".join(cells))

    def parts(text):
        return {text[i : i + 4] for i in range(len(text) - 3)}

    expected = []
    for i in range(len(texts)):
        for j in range(i + 1, len(texts)):
            a, b = parts(texts[i]), parts(texts[j])
            likeness = len(a & b) / len(a | b)
            if likeness >= 0.7 and a != b:
                expected.append((i, j, likeness))
    assert len(expected) > 5
    assert near_copies(texts, alike=0.7) == expected


def test_numbers_and_several_labels_are_read_as_in_tables_of_images(tmp_path):
    stars = [(f"Text number {n} said so", n / 10) for n in range(20)]
    splits = load_texts(written(tmp_path / "s.csv", ("text", "stars"), stars))
    assert splits.train.target_names == ("stars",)
    joint = [(t, ("a|b", "b|c", "a")[i % 3]) for i, (t, _) in enumerate(ROWS)]
    path = written(tmp_path / "j.csv", ("text", "tags"), joint)
    splits = load_texts(path, labels="tags", separator="|")
    assert splits.train.multilabel and splits.class_names == ("a", "b", "c")
    wide = [(t, int(i % 2 == 0), int(i % 3 == 0)) for i, (t, _) in enumerate(ROWS)]
    path = written(tmp_path / "w.csv", ("text", "odd", "third"), wide)
    assert load_texts(path, labels=["odd", "third"]).class_names == ("odd", "third")


def test_parts_and_groups_of_columns_are_kept(tmp_path):
    rows = [
        (t, s, ("train", "dev", "test")[i % 3], i // 3) for i, (t, s) in enumerate(ROWS)
    ]
    path = written(tmp_path / "r.csv", ("t", "s", "part", "who"), rows)
    splits = load_texts(path, text="t", labels="s", split="part")
    assert [len(part) for part in splits] == [9, 9, 8]
    with pytest.warns(UserWarning, match="pass split='part'"):
        splits = load_texts(path, text="t", labels="s", groups="who", validation=0.4)
    who = {t: w for t, _, _, w in rows}
    held = [{who[text] for text in part.texts} for part in splits if part]
    assert not held[0] & held[1]


def test_folders_with_parts_are_read(tmp_path):
    for number, (text, name) in enumerate(ROWS):
        part = "test" if number % 5 == 0 else "train"
        file = tmp_path / part / name / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    splits = load_texts(tmp_path, validation=0.2)
    assert len(splits.test) == sum(i % 5 == 0 for i in range(len(ROWS)))
    assert set(splits.test.texts) == {t for i, (t, _) in enumerate(ROWS) if i % 5 == 0}


CONLL = (
    "-DOCSTART- O\n\nAda B-person\nwrote O\n\nIn\tO\nNew\tB-place\nYork\tI-place\n\n"
)


def test_conll_files_give_words_and_tags(tmp_path):
    for name in ("wnut-train", "emerging.dev", "final.test"):
        (tmp_path / f"{name}.conll").write_text(CONLL.replace("Ada", name))
    with pytest.warns(UserWarning) as said:
        splits = load_texts(tmp_path)
    said = " ".join(str(each.message) for each in said)
    assert "Dropped 2 texts that a held-out part holds too" in said
    assert "No text of data/train shows 'B-place', 'I-place'" in said
    test = splits.test
    assert test.texts == ("final.test wrote", "In New York")
    assert test.class_names == ("O", "B-person", "B-place", "I-place")
    assert [row.tolist() for row in test.labels.tags] == [[1, 0], [0, 2, 3]]
    assert test.labels.words[1] == ("In", "New", "York")
    # The sentence that all share is left in the last part alone, and that is said.
    assert [len(part) for part in splits] == [1, 1, 2]
    assert test.subset([1]).labels.tags[0].tolist() == [0, 2, 3]
    assert test.counts() == {"O": 2, "B-person": 1, "B-place": 1, "I-place": 1}


def test_wrong_tags_are_named(tmp_path):
    with pytest.raises(ValueError, match="one tag for each word"):
        WordTags([["a", "b"]], [["O"]])
    with pytest.raises(ValueError, match="B-x"):
        WordTags([["a"]], [["B-x"]], ["O"])
    path = tmp_path / "t.conll"
    path.write_text("one O\nalone\n")
    with pytest.raises(ValueError, match="Line 2 has 'alone'"):
        load_texts(path)


def test_a_mark_before_the_text_and_utf16_are_read(tmp_path):
    lines = "review,sentiment\n" + "\n".join(",".join(row) for row in ROWS)
    for number, encoding in enumerate(["utf-8-sig", "utf-16"]):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(lines.encode(encoding))
        assert load_texts(path).class_names == ("bad", "good")


def test_another_encoding_is_said_and_can_be_given(tmp_path):
    path = written(tmp_path / "r.csv")
    data = path.read_bytes() + "\nA fine café,good".encode("latin-1")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"text in UTF-8.*Its line 28.*cp1252"):
        load_texts(path)
    splits = load_texts(path, encoding="cp1252")
    assert any("café" in text for part in splits if part for text in part.texts)


def test_quotation_marks_in_tab_separated_files_are_text(tmp_path):
    rows = [*ROWS, ('"Fine, he said to me', "good"), ('It was "so so" at best', "bad")]
    path = written(tmp_path / "r.tsv", rows=rows, between="\t")
    texts = [text for part in load_texts(path) if part for text in part.texts]
    assert '"Fine, he said to me' in texts and len(texts) == len(rows)
    rows = [*ROWS, ('"He said ""fine"" to me"', "good")]
    path = written(tmp_path / "q.tsv", rows=rows, between="\t")
    texts = [text for part in load_texts(path) if part for text in part.texts]
    assert 'He said "fine" to me' in texts


def bad(kind, root):
    """One fault of a file, with how it is opened."""
    path = root / "r.csv"
    if kind == "empty":
        return written(path, rows=[*ROWS, (" ", "good")]), {}
    if kind == "column":
        return written(path), {"text": "reveiw"}
    if kind == "label column":
        return written(path), {"labels": "sentimnt"}
    if kind == "one label":
        return written(path, rows=[(t, "good") for t, _ in ROWS]), {}
    if kind == "long":
        return written(path, rows=[*ROWS, ("word " * 2_000_000, "bad")]), {}
    if kind == "no text column":
        return written(path, ("a", "b"), [(1, 2), (3, 4)]), {}
    if kind == "no label":
        return written(path, rows=[*ROWS, ("A text", "")]), {}
    return root / "none.csv", {}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", r"a text in each row of r\. Received: text=\[27\]"),
        ("column", "Did you mean 'review'"),
        ("label column", "Did you mean 'sentiment'"),
        ("one label", r"at least two classes\. Received: labels=\('good',\)"),
        ("long", "10,000,000 characters in row 27.*quotation mark left open"),
        ("no text column", "no column looks like it"),
        ("no label", "a class name in each row"),
        ("no file", "does not exist"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, kind, message):
    path, options = bad(kind, tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as found:
        load_texts(path, **options)
    assert "\n" not in str(found.value) and len(str(found.value)) < 400


def test_empty_texts_can_be_left_out(tmp_path):
    path = written(tmp_path / "r.csv", rows=[*ROWS, (" ", "good")])
    with pytest.warns(UserWarning, match="Left out rows of r without a text: 27"):
        splits = load_texts(path, on_bad="skip")
    assert sum(len(part) for part in splits if part) == len(ROWS)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TextSet("one"), TypeError, "Pass a list"),
        (lambda: TextSet(["a", 3]), TypeError, "int at 1"),
        (lambda: TextSet(["a", ""]), ValueError, r"empty ones at \[1\]"),
        (lambda: TextSet(["a"], [0, 1], ("x", "y")), ValueError, "of length 1"),
        (lambda: near_copies(["a"], alike=0), ValueError, "above 0"),
    ],
)
def test_what_no_set_can_be_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_table_of_images_is_still_one(tmp_path):
    rows = [(f"{n}.png", "a b") for n in range(3)]
    path = written(tmp_path / "r.csv", ("file", "name"), rows)
    with pytest.raises(FileNotFoundError, match="a column of files that exist"):
        open_data(path)
    with pytest.raises(ValueError, match="None for a table of texts"):
        open_data(written(tmp_path / "t.csv"), folder=tmp_path, text="review")


def test_parts_at_hand_are_taken_apart():
    one = TextSet(["a b", "c"], ["x", "y"])
    other = TextSet(["A  B", "d"], ["x", "y"])
    with pytest.warns(UserWarning, match="Dropped 1 text that a held-out part holds"):
        splits = open_data((one, other))
    assert splits.train.texts == ("c",)
    assert kerastl.TextSet is TextSet


def test_a_table_or_a_file_of_nothing_but_texts_has_no_labels(tmp_path):
    lines = [f"line {number} of a poem" for number in range(10)]
    for name, head in (("poem.txt", ""), ("poem.csv", "text\n")):
        (tmp_path / name).write_text(head + "\n".join(lines) + "\n\n")
        splits = load_texts(tmp_path / name, validation=0.2)
        assert sorted(splits.train.texts + splits.validation.texts) == sorted(lines)
        assert splits.train.labels is None and len(splits.validation) == 2
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="a text a line"):
        load_texts(tmp_path / "empty.txt")


def test_texts_without_labels_are_for_a_language_model(tmp_path):
    (tmp_path / "poem.txt").write_text("\n".join(f"{i} lines" for i in range(9)))
    with pytest.raises(ValueError, match="task='language'"):
        kerastl.transfer(tmp_path / "poem.txt")
