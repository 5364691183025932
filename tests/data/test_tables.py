"""Tables of files with class names or numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kerastl
from kerastl.data.tables import load_table

COUNT = 20


@pytest.fixture
def root(tmp_path):
    """Twenty pictures in a folder `faces`, and tables that name them."""
    (tmp_path / "faces").mkdir()
    for i in range(COUNT):
        image = Image.new("RGB", (8, 8), (i, 2 * i, 0))
        image.putpixel((0, 0), (255, 255, 255))
        image.save(tmp_path / "faces" / f"{i}.png")
    return tmp_path


class Frame(dict):
    """As much of a pandas.DataFrame as is looked at."""

    iloc = None

    @property
    def columns(self):
        return self.keys()


def write(root, lines, name="people.csv"):
    path = root / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def rows(line, header):
    return [
        header,
        *(line.format(i=i, age=20 + i, name="ab"[i % 2]) for i in range(COUNT)),
    ]


def together(splits, key):
    """What `key` gives of each file, over all parts."""
    return {
        path: key(part, place)
        for part in splits
        if part is not None
        for place, path in enumerate(part.paths)
    }


def test_numbers_stay_with_their_files(root):
    table = write(root, rows("faces/{i}.png,{age},{name}", "file,age,who"))
    splits = load_table(table, images="file", targets="age", test=0.2)
    found = together(splits, lambda part, place: part.labels[place].tolist())
    assert found == {str(root / f"faces/{i}.png"): [20.0 + i] for i in range(COUNT)}
    assert [len(part) for part in splits] == [12, 4, 4]
    assert splits.train.target_names == ("age",)
    assert splits.train.name == "people"


def test_class_names_are_in_natural_order(root):
    lines = ["file,who", *(f"faces/{i}.png,{(10, 2)[i % 2]}" for i in range(COUNT))]
    train, validation, _ = load_table(write(root, lines), labels="who")
    assert train.class_names == ("2", "10")
    assert validation.counts() == {"2": 2, "10": 2}


def test_several_numbers_and_a_folder(root):
    lines = ["age,file,size", *(f"{i},{i}.png,{3 * i}" for i in range(COUNT))]
    table = write(root, lines)
    train, *_ = load_table(table, targets=("size", "age"), folder=root / "faces")
    np.testing.assert_array_equal(train.labels[:, 0], 3 * train.labels[:, 1])
    assert train.target_names == ("size", "age")


@pytest.mark.parametrize("end", [".csv", ".tsv"])
def test_what_is_not_named_is_guessed(root, end):
    comma = {".csv": ",", ".tsv": "\t"}[end]
    ages = [
        line.replace(",", comma) for line in rows("faces/{i}.png,{age}", "file,age")
    ]
    assert load_table(write(root, ages, "ages" + end)).train.target_names == ("age",)
    names = [line.replace(",", comma) for line in rows("faces/{i}.png,{name}", "f,who")]
    splits = kerastl.open_data(write(root, names, "who" + end))
    assert splits.train.class_names == ("a", "b")


def test_a_data_frame_is_a_table_too(root):
    columns = {
        "file": np.array([f"{i}.png" for i in range(COUNT)], object),
        "age": np.arange(20, 20 + COUNT),
    }
    frame = Frame(columns)
    splits = kerastl.open_data(frame, targets="age", folder=root / "faces")
    assert together(splits, lambda part, i: float(part.labels[i, 0])) == {
        str(root / f"faces/{i}.png"): 20.0 + i for i in range(COUNT)
    }


def test_an_empty_cell_of_a_data_frame_is_no_class(root):
    columns = {
        "file": np.array(["0.png", "1.png", "2.png"], object),
        "kind": np.array(["a", "b", np.nan], object),
    }
    with pytest.raises(ValueError, match="none in row 3"):
        kerastl.open_data(Frame(columns), labels="kind", folder=root / "faces")


def test_a_table_in_another_encoding_is_named(root):
    path = root / "people.csv"
    path.write_text("file,größe\nfaces/0.png,1", encoding="latin-1")
    with pytest.raises(ValueError, match=r"`table` must be text in UTF-8.*people"):
        load_table(path)


def test_copies_never_straddle_two_parts_and_conflicts_are_dropped(root):
    for i in range(3):
        Image.open(root / f"faces/{i}.png").save(root / f"faces/copy{i}.png")
    lines = rows("faces/{i}.png,{age}", "file,age")
    lines += ["faces/copy0.png,20", "faces/copy1.png,21", "faces/copy2.png,99"]
    with pytest.warns(UserWarning, match="Dropped 2 images: equal content"):
        splits = load_table(write(root, lines), test=0.3)
    where = together(splits, lambda part, place: id(part))
    assert len(where) == COUNT + 1
    for i in range(2):
        assert (
            where[str(root / f"faces/{i}.png")]
            == where[str(root / f"faces/copy{i}.png")]
        )


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (["file,age", "faces/0.png,old"], {"targets": "age"}, "row 1: 'old'"),
        (["file,age", "faces/0.png,"], {"targets": "age"}, "columns of numbers"),
        (["file,age", "faces/0.png,nan"], {"targets": "age"}, "columns of numbers"),
        (["file,age", "faces/0.png,1"], {"targets": "agee"}, "Did you mean 'age'"),
        (["file,age", "faces/0.png,1"], {"images": "path"}, "'file', 'age'"),
        (["file,a", "faces/0.png,x"], {"labels": "a"}, "at least two classes"),
        (["file,a", "faces/0.png,x", "faces/1.png,"], {"labels": "a"}, "none in row 2"),
        (["file,a,b", "faces/0.png,x,1"], {}, "`targets` must be given, or `labels`"),
        (["file,a,b", "faces/0.png,x"], {}, "rows with 3 fields"),
        (["file,a"], {}, "at least one row"),
        ([], {}, "at least one row"),
        (["file,file", "faces/0.png,1"], {}, "different names"),
        (["who,age", "x,1"], {}, "`images` must be one of the columns"),
        (["file;age", "faces/0.png;1"], {}, "separated by commas"),
        (["file,a", "faces/0.png,1"], {"labels": "a", "targets": "a"}, "must be None"),
    ],
)
def test_what_does_not_fit_is_named(root, lines, options, words):
    with pytest.raises(ValueError, match=words):
        load_table(write(root, lines), **options)


def test_missing_files_are_named_with_the_way_out(root):
    lines = [*rows("{i}.png,{age}", "file,age")]
    with pytest.raises(FileNotFoundError, match=r"20 of 20 do not exist.*`folder`"):
        load_table(write(root, lines))
    with pytest.raises(FileNotFoundError, match="an existing file"):
        load_table(root / "nowhere.csv")
    with pytest.raises(TypeError, match=r"a \.csv, \.tsv or \.jsonl file"):
        load_table(["a.png"])


def test_a_damaged_file_is_named_or_left_out(root):
    (root / "faces/3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    table = write(root, rows("faces/{i}.png,{age}", "file,age"))
    with pytest.raises(ValueError, match=r"`table` must be.*3\.png"):
        load_table(table)
    with pytest.warns(UserWarning, match="Skipped 1 files"):
        splits = load_table(table, on_bad="skip")
    found = together(splits, lambda part, place: float(part.labels[place, 0]))
    expected = {str(root / f"faces/{i}.png"): 20.0 + i for i in range(COUNT) if i != 3}
    assert found == expected


def test_columns_are_for_tables_only(root):
    with pytest.raises(ValueError, match="`targets` must be None for data"):
        kerastl.open_data("digits", targets="age")


def test_a_table_trains_a_regressor(root):
    table = write(root, rows("faces/{i}.png,{age},{name}", "file,age,who"))
    result = kerastl.transfer(
        table,
        images="file",
        targets="age",
        alpha=0.25,
        image_size=32,
        recipe="linear_probe",
        epochs=1,
        verbose=0,
    )
    assert result.report["settings"]["targets"] == "age"
    assert result.report["validation"]["per_target"][0]["name"] == "age"


def test_one_column_a_class_with_one_in_each_row_is_a_class_each(root):
    lines = ["file,cat,dog", *(f"faces/{i}.png,{i % 2},{1 - i % 2}" for i in range(20))]
    for options in ({"labels": ["dog", "cat"]}, {}):
        train, *_ = load_table(write(root, lines), **options)
        assert not train.multilabel
        found = together((train,), lambda part, i: part.class_names[part.labels[i]])
        assert all(
            name == ("dog", "cat")[int(path.split("/")[-1][:-4]) % 2]
            for path, name in found.items()
        )


@pytest.mark.parametrize("words", [("1", "0"), ("True", "False"), ("1.0", "0.0")])
def test_one_column_a_class_with_several_in_a_row_is_several_labels(root, words):
    yes, no = words
    lines = ["file,cat,dog", *(f"faces/{i}.png,{yes},{no}" for i in range(10))]
    lines += [f"faces/{i}.png,{yes},{yes}" for i in range(10, 18)]
    lines += [f"faces/{i}.png,{no},{no}" for i in range(18, 20)]
    splits = load_table(write(root, lines), labels=["cat", "dog"])
    assert splits.train.multilabel
    found = together(splits, lambda part, i: part.labels[i].tolist())
    assert [found[str(root / f"faces/{i}.png")] for i in (0, 10, 19)] == [
        [1, 0],
        [1, 1],
        [0, 0],
    ]


@pytest.mark.parametrize("separator", ["|", "; ", ","])
def test_several_labels_in_a_cell(root, separator):
    cells = ["oak", separator.join(["elm", "oak"]), "", "elm"]
    lines = ["file,tree", *(f'faces/{i}.png,"{cells[i % 4]}"' for i in range(20))]
    splits = load_table(write(root, lines), labels="tree", separator=separator)
    assert splits.class_names == ("elm", "oak")
    found = together(splits, lambda part, i: part.labels[i].tolist())
    rows = [found[str(root / f"faces/{i}.png")] for i in range(4)]
    assert rows == [[0, 1], [1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("kind", ["names", "numbers", "several"])
def test_a_group_is_never_in_two_parts(root, kind):
    what = {"names": "ab", "numbers": "12", "several": ["a|b", "a"]}[kind]
    options = {"several": {"separator": "|", "labels": "what"}}.get(kind, {})
    options = options or {{"names": "labels", "numbers": "targets"}[kind]: "what"}
    lines = [
        "f,what,who",
        *(f"faces/{i}.png,{what[i % 2]},p{i // 4}" for i in range(20)),
    ]
    splits = load_table(write(root, lines), groups="who", test=0.2, **options)
    homes = [
        {int(path.split("/")[-1][:-4]) // 4 for path in part.paths} for part in splits
    ]
    assert sum(map(len, homes)) == len(set().union(*homes)) == 5


@pytest.mark.parametrize("column", ["split", "fold"])
@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "dev", "Testing")]
)
def test_a_column_of_parts_is_used_where_it_is_named(root, column, words):
    lines = [f"file,who,{column}"]
    for i in range(20):
        part = words[0 if i < 12 else 1 if i < 16 else 2]
        lines.append(f"faces/{i}.png,{'ab'[i % 2]},{part}")
    table = write(root, lines)
    splits = load_table(table, labels="who", split=column)
    assert [len(part) for part in splits] == [12, 4, 4]
    assert {Path(path).stem for path in splits.test.paths} == {"16", "17", "18", "19"}
    with pytest.warns(UserWarning, match=f"pass split='{column}'"):
        load_table(table, labels="who")


def test_a_copy_or_a_group_in_two_named_parts_leaks(root):
    lines = ["file,who,part,person"]
    for i in range(20):
        part = "train" if i < 14 else "test"
        lines.append(
            f"faces/{i}.png,{'ab'[i % 2]},{part},{7 if i in (3, 15) else i + 20}"
        )
    options = {"labels": "who", "split": "part", "groups": "person", "validation": 0}
    with pytest.warns(UserWarning, match=r"Dropped 1 image.*3\.png = .*15\.png"):
        splits = load_table(write(root, lines), **options)
    assert [len(splits.train), len(splits.test)] == [13, 6]
    with pytest.raises(ValueError, match=r"`table` must be made of parts.*3\.png"):
        load_table(write(root, lines), on_leak="error", **options)


def test_a_row_that_comes_twice_counts_once_and_is_named(root):
    lines = rows("faces/{i}.png,{name}", "file,who")
    lines += [lines[3], lines[4]]
    with pytest.warns(UserWarning, match=r"count once: '.*2\.png', '.*3\.png'"):
        splits = load_table(write(root, lines))
    assert sum(len(part) for part in splits if part) == COUNT


def test_a_file_with_two_answers_is_named_and_dropped(root):
    lines = [*rows("faces/{i}.png,{name}", "file,who"), "faces/0.png,b"]
    with pytest.warns(UserWarning, match=r"Dropped 2 images.*0\.png = .*0\.png"):
        splits = load_table(write(root, lines))
    assert sum(len(part) for part in splits if part) == COUNT - 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["file,n", *(f"faces/{i}.png,{i % 3}" for i in range(20))], "labels='n'"),
        (
            ["f,k", *(f"faces/{i}.png,{('a', 'b', 'a|b')[i % 3]}" for i in range(20))],
            "'|'",
        ),
        (
            ["f,k", *(f"faces/{i}.png,{('a', 'b', 'a;b')[i % 3]}" for i in range(20))],
            "';'",
        ),
    ],
)
def test_a_doubtful_reading_is_said(root, lines, words):
    with pytest.warns(UserWarning) as caught:
        load_table(write(root, lines))
    assert words in str(caught[0].message)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"targets": []}, TypeError, "`targets` must be a column's name or several"),
        ({"targets": 3}, TypeError, "`targets` must be a column's name or several"),
        ({"labels": ()}, TypeError, "`labels` must be a column's name or several"),
        ({"labels": "who", "groups": "whoo"}, ValueError, "Did you mean 'who'"),
        ({"labels": "who", "split": "age"}, ValueError, "row 1: '20'"),
        ({"labels": "who", "split": "test"}, ValueError, "rows of train"),
        ({"labels": "who", "groups": "gap"}, ValueError, "none in row 1"),
        (
            {"labels": ["age", "who"]},
            ValueError,
            r"columns of 0 and 1 \('age'\).*row 1",
        ),
        ({"labels": "who", "separator": "|"}, ValueError, "found between the labels"),
        ({"targets": "age", "separator": "|"}, ValueError, "one column of labels"),
    ],
)
def test_columns_that_do_not_fit_are_named(root, options, error, words):
    lines = rows("faces/{i}.png,{age},{name},test,", "file,age,who,test,gap")
    with pytest.raises(error, match=words):
        load_table(write(root, lines), **options)


@pytest.mark.parametrize("asked", ["age", "who"])
def test_one_row_is_too_few_for_two_parts(root, asked):
    table = write(root, ["file,age,who", "faces/0.png,3,a"])
    option = {"age": "targets", "who": "labels"}[asked]
    with pytest.raises(ValueError, match=r"at least (2 different images|two classes)"):
        load_table(table, images="file", **{option: asked})


def test_a_missing_ending_is_found(root):
    with pytest.raises(FileNotFoundError, match=r"With the ending '\.png' the first"):
        load_table(write(root, rows("faces/{i},{age}", "file,age")), images="file")
