"""Tables of files with class names or numbers."""

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
    with pytest.raises(ValueError, match=r"`table` must be CSV text in UTF-8.*people"):
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
    with pytest.raises(TypeError, match=r"a \.csv or \.tsv file, or a DataFrame"):
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
