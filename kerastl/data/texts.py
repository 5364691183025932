"""Sets of texts: read from tables, folders and CoNLL files, and cut without leaks."""

import hashlib
import math
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from kerastl._checks import check_choice, check_number, fail, warn
from kerastl.data.columns import (
    Table,
    asked_of,
    check_columns,
    guessed_columns,
    is_table,
    key_column,
    part_column,
    read_table,
    read_text,
    say_parts,
)
from kerastl.data.decoding import is_image
from kerastl.data.dense import DenseLabels
from kerastl.data.folders import part_of, read_layout, walk
from kerastl.data.loading import brought, cut_whole, existing_folder
from kerastl.data.sets import (
    Examples,
    Splits,
    counted,
    joined,
    natural_key,
    warn_user,
)
from kerastl.data.splitting import check_shares

#: Characters of one text; what is longer is a file whose quotation marks do not match.
LONGEST = 1_000_000
_NAMED = 5
_SHOWN = 40
#: Rows by which a column is taken for one of texts.
_LOOKED_AT = 500
#: Characters of a file's name at most.
_LONGEST_NAME = 1000


@dataclass(frozen=True, eq=False)
class TextSet(Examples):
    """Texts with what is asked of them: classes, or numbers, each with its name.

    A copy is a text that differs in case and spaces at most.

    Attributes:
        texts: Strings, none of them empty.
        labels: As of `ImageSet`; or `WordTags`, which bring the names of their classes.
        class_names: One name for each class, in the order of the labels; where labels
            are names, theirs in natural order if none are given.
        name: What to call the set in reports.
        target_names: One name for each number of a text, where numbers are asked.

    Raises:
        ValueError: If the lengths or labels do not agree, or a text is empty or longer
            than a million characters.
        TypeError: If a text is no string.

    Example:
        >>> films = TextSet(["A fine film", "Dull."], ["good", "bad"])
        >>> len(films), films.counts(), films.labels.tolist()
        (2, {'bad': 1, 'good': 1}, [1, 0])
    """

    noun: ClassVar[str] = "text"
    items_field: ClassVar[str] = "texts"
    texts: tuple[str, ...]
    labels: np.ndarray | DenseLabels | None = None
    class_names: tuple[str, ...] = ()
    name: str = ""
    target_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields against each other and store them in one form."""
        self.check_fields(_as_texts(self.texts))

    def __repr__(self) -> str:
        """Counts, never the texts."""
        name = f"{self.name!r}, " if self.name else ""
        return f"TextSet({name}{len(self)} texts, {self.asked})"

    @property
    def paths(self) -> None:
        """None: texts are no files."""
        return

    def digests(self) -> np.ndarray:
        """A hash of each text, alike for texts that differ in case and spaces."""
        plain = (
            normalised(text).encode("utf-8", "surrogatepass") for text in self.texts
        )
        return np.array([hashlib.sha256(text).hexdigest() for text in plain], str)

    def describe(self, index: int) -> str:
        """A text's number and beginning."""
        return f"text {index} ({shown(self.texts[index])})"


def normalised(text: str) -> str:
    """A text as copies are compared: case folded, one space between words."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def shown(text: str) -> str:
    """A text's beginning, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}...")


def _as_texts(texts: Any) -> tuple[str, ...]:
    if isinstance(texts, str):
        hint = "Pass a list, of one text too."
        fail("texts", "a sequence of strings", shown(texts), hint, TypeError)
    texts = tuple(texts.tolist() if hasattr(texts, "tolist") else texts)
    kinds = [type(text).__name__ for text in texts]
    wrong = [
        f"{k} at {i}" for i, k in enumerate(kinds) if not isinstance(texts[i], str)
    ]
    if wrong:
        fail("texts", "strings", wrong[:_NAMED], error=TypeError)
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        fail("texts", "of texts that are not empty", f"empty ones at {empty[:_NAMED]}")
    check_lengths(texts, "texts")
    return texts


def check_lengths(texts: Sequence[str], name: str) -> None:
    """Raise if a text is longer than any that is meant as one."""
    long = {i: len(text) for i, text in enumerate(texts, 1) if len(text) > LONGEST}
    if long:
        row, length = next(iter(long.items()))
        hint = "Is a quotation mark left open in the file?"
        expected = f"of texts of at most {LONGEST:,} characters"
        fail(name, expected, f"{length:,} characters in row {row}", hint)


class WordTags(DenseLabels):
    """A tag for each word of each text, as CoNLL files have them.

    Args:
        words: The words of each text.
        tags: As many tags of each text: names, or indices into `class_names`.
        class_names: One name for each tag; None: those that appear, `"O"` first.

    Example:
        >>> tags = WordTags([["Ada", "wrote"]], [["B-person", "O"]])
        >>> tags.class_names, tags.tags[0].tolist()
        (('O', 'B-person'), [1, 0])
    """

    def __init__(
        self,
        words: Sequence[Sequence[str]],
        tags: Sequence[Sequence[Any]],
        class_names: Sequence[str] | None = None,
    ) -> None:
        """See the class."""
        self.words = tuple(map(tuple, words))
        if class_names is None:
            found = {tag for row in tags for tag in row} - {"O"}
            class_names = ("O", *sorted(found, key=natural_key))
        self.class_names = tuple(class_names)
        places = {name: place for place, name in enumerate(self.class_names)}
        places |= {place: place for place in range(len(self.class_names))}
        unknown = {tag for row in tags for tag in row if tag not in places}
        if unknown:
            expected = f"of {', '.join(self.class_names)}"
            fail("tags", expected, sorted(map(str, unknown))[:_NAMED])
        self.tags = tuple(np.array([places[t] for t in row], np.int64) for row in tags)
        uneven = [
            i
            for i, (a, b) in enumerate(zip(self.words, self.tags, strict=False))
            if len(a) != len(b) or not len(a)
        ]
        if uneven or len(self.words) != len(self.tags):
            received = f"others at {uneven[:_NAMED]}" if uneven else len(self.tags)
            fail("tags", "one tag for each word, at least one a text", received)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.words)

    def subset(self, indices: np.ndarray) -> "WordTags":
        """Those of the texts at `indices`."""
        words = [self.words[i] for i in indices]
        return WordTags(words, [self.tags[i] for i in indices], self.class_names)

    def digests(self) -> np.ndarray:
        """The tags of each text as one string."""
        return np.array([" ".join(map(str, row.tolist())) for row in self.tags], str)

    def presence(self) -> np.ndarray:
        """Whether a text has a word of that tag."""
        kinds = np.arange(len(self.class_names))
        return np.array([np.isin(kinds, row) for row in self.tags])

    def rows(self, indices: np.ndarray, **options: Any) -> NoReturn:
        """Tags have no place in an image."""
        return fail("labels", "masks or boxes", "tags of words")


def load_texts(
    data: Any,
    *,
    text: str | None = None,
    labels: str | Sequence[str] | None = None,
    targets: str | Sequence[str] | None = None,
    separator: str | None = None,
    groups: str | None = None,
    split: str | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    on_leak: str = "drop",
    encoding: str = "utf-8",
) -> Splits:
    r"""Texts with class names, numbers or tags of words, as splits of `TextSet`.

    Texts that differ in case and spaces at most never lie in two parts; where their
    labels differ, they are dropped with a warning. Texts that are merely alike may:
    how many is said, see `near_copies`.

    Args:
        data: A .csv, .tsv or .jsonl file or a DataFrame; a folder of class folders of
            .txt files, with train/ and test/ around them or not; a CoNLL file (.conll,
            .bio, .iob: a word and its tag a line, an empty line between texts), or a
            folder of such files, one a part. A .txt file has a text a line, and like a
            table with nothing else no labels: for a language model.
        text: The column of texts; None: the one that looks like it.
        labels: The column of class names, or several columns of 0 and 1, one a class.
        targets: Columns of numbers, for regression. Without `labels` and `targets` all
            other columns are, if they hold numbers; or the only other one is `labels`.
        separator: What stands between several class names in a cell of `labels`.
        groups: Column of what must stay in one part: an author, a conversation.
        split: Column that says which part a row is in: train, validation or test.
        validation: Share to choose by, in [0, 1), of each class where there are such.
        test: Share to score at the end, in [0, 1), where the data bring no parts.
        seed: Non-negative integer; the same seed gives the same splits.
        on_bad: `"error"` names rows whose text is empty, `"skip"` leaves them out with
            a warning.
        on_leak: `"drop"` leaves out the training copy of a held-out text with a
            warning, `"error"` names it.
        encoding: Of the files, where it is not UTF-8.

    Returns:
        Train, validation and test; a part that is not there is None.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ValueError: If a column is missing, a text is empty, there are fewer than two
            classes, or the text is in another encoding.
        TypeError: If the data are of no known kind.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
        >>> words = "plot cast score light sound pace tone wit end start".split()
        >>> lines = [f"The {w} was fine,good\nThe {w} was dull,bad" for w in words]
        >>> _ = path.write_text("\n".join(["review,sentiment", *lines]))
        >>> train, validation, _ = load_texts(path, text="review", labels="sentiment")
        >>> train.counts(), len(validation)
        ({'bad': 8, 'good': 8}, 4)
    """
    check_shares(validation, test, seed)
    check_choice("on_bad", on_bad, ("error", "skip"))
    check_choice("on_leak", on_leak, ("drop", "error"))
    columns = {"text": text, "labels": labels, "targets": targets}
    columns |= {"separator": separator, "groups": groups, "split": split}
    if is_table(data):
        whole, where, keys = _of_table(read_table(data, encoding), on_bad, **columns)
    else:
        for name, given in columns.items():
            if given is not None:
                fail(name, "None for data that are no table", given)
        whole, where, keys = _of_files(data, on_bad, encoding)
    contents = whole.digests()
    clusters = joined(contents, keys)
    if where is None:
        splits = cut_whole(whole, contents, clusters, validation, test, seed)
    else:
        parts = whole, contents, clusters, where
        splits = brought(*parts, validation, seed, on_leak, name="data")
    _say_near_copies(splits)
    return splits


def read_texts(
    data: Any,
    *,
    text: str | None = None,
    labels: Any = None,
    split: str | None = None,
    encoding: str = "utf-8",
) -> tuple[TextSet, np.ndarray | None, int]:
    """All texts of a table or of files as they are, before anything is cut.

    Returns:
        The texts, the part of each where the data bring parts, and how many rows were
        left out as they have no text.
    """
    if not is_table(data):
        whole, where, _ = _of_files(data, "error", encoding)
        return whole, where, 0
    table = read_table(data, encoding)
    column = text or text_column(table.columns, taken=(labels, split))
    cells = table.columns.get(column, ())
    empty = sum(_is_missing(cell) or not str(cell).strip() for cell in cells)
    options = {"targets": None, "separator": None, "groups": None}
    options |= {"text": column, "labels": labels, "split": split}
    with warnings.catch_warnings():
        # The report counts the rows that are left out.
        warnings.filterwarnings("ignore", "Left out rows")
        whole, where, _ = _of_table(table, "skip", **options)
    return whole, where, empty


_Read = tuple[TextSet, np.ndarray | None, np.ndarray]


def _of_table(
    table: Table,
    on_bad: str,
    *,
    text: str | None,
    labels: Any,
    targets: Any,
    separator: str | None,
    groups: str | None,
    split: str | None,
) -> _Read:
    """The texts of a table, their parts, and the keys of what stays together."""
    columns = table.columns
    if targets is not None and labels is not None:
        fail("labels", "None where `targets` are given", labels)
    if text is None:
        text = text_column(columns, taken=(labels, targets, groups, split))
        if text is None:
            hint = f"Its columns are {list(columns)}."
            fail("text", "given for this table: no column looks like it", None, hint)
    named = {"text": text, "groups": groups, "split": split}
    for option, name in named.items():
        if name is not None:
            check_columns(option, [name], columns)
    good = _good_rows(columns[text], on_bad, table.name)
    columns = {name: [cells[i] for i in good] for name, cells in columns.items()}
    others = [name for name in columns if name not in named.values()]
    if split is None:
        say_parts(columns, others)
    # With nothing but texts nothing is asked of them: a language model may read them.
    asked: dict[str, Any] = {}
    if others or targets is not None or labels is not None:
        if targets is None and labels is None:
            targets, labels = guessed_columns(columns, others)
        chosen = [
            check_columns(option, names, columns)
            for option, names in (("targets", targets), ("labels", labels))
        ]
        asked = asked_of(columns, *chosen, separator)
    whole = TextSet(tuple(map(str, columns[text])), name=table.name, **asked)
    where = None if split is None else part_column(columns, split)
    return whole, where, key_column(columns, groups)


def as_text_set(inputs: Any) -> TextSet:
    """Whatever holds texts, as a `TextSet` without labels, or the set itself.

    Args:
        inputs: Strings, one string, a `TextSet`, or a file: a table, or a .txt with a
            text a line.
    """
    if isinstance(inputs, TextSet):
        return inputs
    one = isinstance(inputs, (str, Path))
    if not one and isinstance(inputs, (list, tuple)) and len(inputs) == 1:
        # As the command line has it.
        one, inputs = True, inputs[0]
    if not one and not is_table(inputs):
        if not hasattr(inputs, "__len__") or not len(inputs):
            kinds = "texts, or a file of them"
            received = "none" if hasattr(inputs, "__len__") else type(inputs).__name__
            fail("inputs", kinds, received)
        return TextSet(tuple(inputs))
    file = one and _file_of_texts(inputs)
    if one and not file:
        return TextSet((inputs,))
    if file and file.suffix.lower() == ".txt":
        return TextSet(_lines(file))
    table = read_table(file or inputs)
    column = text_column(table.columns)
    if column is None:
        names = list(table.columns)
        if len(names) != 1:
            hint = "Leave one column, or pass its cells as a list."
            fail("inputs", "a table with a column of texts", names, hint)
        (column,) = names
    cells = table.columns[column]
    good = _good_rows(cells, "error", table.name)
    return TextSet(tuple(str(cells[i]) for i in good), name=table.name)


def _file_of_texts(given: str | Path) -> Path | None:
    """The file that a string names, if it does; else it is a text."""
    path = Path(given).expanduser() if len(str(given)) < _LONGEST_NAME else None
    kinds = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson")
    if path is None or path.suffix.lower() not in kinds:
        if isinstance(given, Path):
            fail("inputs", f"a file ending in {', '.join(kinds)}", str(given))
        return None
    words = len(str(given).split())
    if path.is_file() or (words == 1 and not path.is_file()):
        if not path.is_file():
            hint = "Check the spelling and the working folder."
            fail("inputs", "files that exist", str(given), hint, FileNotFoundError)
        return path
    return None


def text_column(
    columns: Mapping[str, list[Any]], taken: Sequence[Any] = ()
) -> str | None:
    """The column that looks like texts: several words a cell, seldom twice the same."""
    used: set[str] = set()
    for each in taken:
        used |= {each} if isinstance(each, str) else set(each or ())
    best, most = None, 1.5
    for name, cells in columns.items():
        first = cells[:_LOOKED_AT]
        texts = [cell for cell in first if isinstance(cell, str) and cell.strip()]
        if name in used or 2 * len(texts) < len(first):
            continue
        words = sum(len(text.split()) for text in texts) / len(texts)
        # Names of classes may have several words too, and come again and again.
        many = len(texts) < 4 or len(set(texts)) > min(len(texts) / 2, 20)
        if words > most and many:
            best, most = name, words
    return best


def _good_rows(cells: Sequence[Any], on_bad: str, name: str) -> list[int]:
    """The rows whose cell is a text."""
    texts = ["" if _is_missing(cell) else str(cell) for cell in cells]
    check_lengths(texts, "text")
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    rows = [i + 1 for i in empty]
    if empty and on_bad == "error":
        hint = f"{len(empty)} of {len(cells)} rows have none: fill them in, or leave "
        hint += 'them out with on_bad="skip".'
        fail("text", f"a column with a text in each row of {name}", rows[:_NAMED], hint)
    if empty:
        warn_user(f"Left out rows of {name} without a text", list(map(str, rows)))
    dropped = set(empty)
    if len(dropped) == len(cells):
        fail("text", "a column with texts", "empty cells alone")
    return [i for i in range(len(cells)) if i not in dropped]


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


_TAGGED = (".conll", ".bio", ".iob", ".annotated")


def is_text_data(data: Any) -> bool:
    """Whether data that are no table are texts: a CoNLL file, lines, or a folder."""
    if not isinstance(data, (str, Path)) or not Path(data).exists():
        return False
    path = Path(data)
    if path.is_file():
        return path.suffix.lower() in (*_TAGGED, ".txt")
    if any(each.suffix.lower() in _TAGGED for each in path.iterdir()):
        return True
    found = [each for level in ("*/*", "*/*/*") for each in path.glob(level)]
    return any(map(_is_text, found)) and not any(map(is_image, found))


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _of_files(data: Any, on_bad: str, encoding: str) -> _Read:
    """The texts of a CoNLL file, or of a folder of such or of .txt files."""
    if isinstance(data, (str, Path)) and Path(data).expanduser().is_file():
        path = Path(data).expanduser()
        if _is_text(path):
            return _of_lines(path, encoding)
        if path.suffix.lower() not in _TAGGED:
            kinds = f"a file ending in .csv, .tsv, .jsonl, .txt, {', '.join(_TAGGED)}"
            fail("data", kinds, str(data))
        return _of_conll([path], path.stem, encoding)
    root = existing_folder(data)
    tagged = [each for each in root.iterdir() if each.suffix.lower() in _TAGGED]
    if tagged:
        files = sorted(tagged, key=lambda path: natural_key(path.name))
        return _of_conll(files, root.resolve().name, encoding)
    return _of_folder(root, on_bad, encoding)


def _lines(path: Path, encoding: str = "utf-8") -> tuple[str, ...]:
    """The lines of a file that are not empty."""
    lines = read_text(path, encoding).split("\n")
    return tuple(line.strip() for line in lines if line.strip())


def _of_lines(path: Path, encoding: str) -> _Read:
    """A text a line, of which nothing is asked."""
    lines = _lines(path, encoding)
    if not lines:
        fail("data", "a file with a text a line", str(path))
    whole = TextSet(lines, name=path.stem)
    return whole, None, np.arange(len(whole))


def _of_folder(root: Path, on_bad: str, encoding: str) -> _Read:
    """Class folders of .txt files."""
    layout = read_layout(*walk(root, _is_text))
    # The walk's own words are of images.
    said = [re.sub(r"\bimage", "text", line) for line in layout.said]
    if layout.fault:
        expected, hint = (re.sub(r"\bimage", "text", part) for part in layout.fault)
        fail("data", expected, str(root), hint)
    for line in said:
        warn(line)
    listed = [
        (path, name, part)
        for part, name, folder in layout.classes
        for path in folder.files("images")
    ]
    names = tuple(sorted({name for _, name, _ in listed}, key=natural_key))
    if len(names) < 2:
        expected = "a folder of at least two class folders of .txt files"
        fail("data", expected, str(root), f"Those with texts are {list(names)}.")
    texts = [read_text(path, encoding) for path, _, _ in listed]
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    files = [str(listed[i][0]) for i in empty]
    if empty and on_bad == "error":
        hint = 'Remove them, or leave them out with on_bad="skip".'
        fail("data", "a folder of files with texts", files[:_NAMED], hint)
    if empty:
        warn_user("Left out empty files", files)
    good = [i for i in range(len(texts)) if i not in set(empty)]
    whole = TextSet(
        tuple(texts[i] for i in good),
        np.array([names.index(listed[i][1]) for i in good]),
        names,
        root.resolve().name,
    )
    where = np.array([listed[i][2] for i in good])
    parts = None if list(layout.parts) == [""] else where
    return whole, parts, np.arange(len(whole))


def _of_conll(files: Sequence[Path], name: str, encoding: str) -> _Read:
    """Words and tags of CoNLL files; the part of each by its name."""
    words: list[list[str]] = []
    tags: list[list[str]] = []
    where: list[str] = []
    for file in files:
        part = part_of(file.stem)[0]
        if not part and len(files) > 1:
            expected = "of files whose names say train, dev or test"
            fail("data", expected, file.name)
        before = len(words)
        for rows in _sentences(read_text(file, encoding), file):
            words.append([row[0] for row in rows])
            tags.append([row[-1] for row in rows])
        where += [part] * (len(words) - before)
    if not words:
        fail("data", "a file with a word and its tag a line", str(files[0]))
    asked = WordTags(words, tags)
    whole = TextSet(tuple(" ".join(row) for row in words), asked, name=name)
    parts = np.array(where) if len(files) > 1 else None
    return whole, parts, np.arange(len(whole))


def _sentences(text: str, file: Path) -> list[list[list[str]]]:
    """The fields of each word, in lists of one text each."""
    found: list[list[list[str]]] = [[]]
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        fields = line.split("\t") if "\t" in line else line.split()
        fields = [field.strip() for field in fields]
        if not any(fields) or fields[0] == "-DOCSTART-":
            found.append([])
        elif len(fields) < 2 or not fields[0] or not fields[-1]:
            hint = f"Line {number} has {shown(line)}."
            fail("data", "a file with a word and its tag a line", str(file), hint)
        else:
            found[-1].append(fields)
    return [rows for rows in found if rows]


#: Characters that shingles have, and the likeness from which texts count as alike.
_SHINGLE, ALIKE = 4, 0.8


def near_copies(
    texts: Sequence[str], others: Sequence[str] | None = None, *, alike: float = ALIKE
) -> list[tuple[int, int, float]]:
    """Pairs of texts that are alike, without being copies: `(i, j, likeness)`.

    The likeness is Jaccard's: of the runs of four characters that two texts have, in
    case and spaces normalised, the share that both have. All pairs from `alike` on are
    found.

    Args:
        texts: Strings.
        others: What to compare with; None: the texts among each other, `i < j`.
        alike: The least likeness, in (0, 1].

    Returns:
        For each pair its indices and likeness, in their order.

    Raises:
        ValueError: If `alike` is out of range.

    Example:
        >>> texts = ["You won a prize, call us", "you won a PRIZE, call us!"]
        >>> [(i, j, round(likeness, 2)) for i, j, likeness in near_copies(texts)]
        [(0, 1, 0.95)]

    Reference:
        Broder (1997), On the resemblance and containment of documents, section 2; the
        search is that of Chaudhuri, Ganti and Kaushik (2006), by rare parts first.
    """
    check_number("alike", alike, above=0.0, maximum=1.0)
    mine = [_shingles(text) for text in texts]
    theirs = mine if others is None else [_shingles(text) for text in others]
    counts = Counter(part for each in theirs for part in each)
    holders: dict[str, list[int]] = defaultdict(list)
    for j, parts in enumerate(theirs):
        for part in _rare(parts, counts, alike):
            holders[part].append(j)
    found = []
    for i, parts in enumerate(mine):
        rare = _rare(parts, counts, alike)
        for j in sorted({j for part in rare for j in holders.get(part, ())}):
            if others is None and j <= i:
                continue
            shared = len(parts & theirs[j])
            likeness = shared / (len(parts) + len(theirs[j]) - shared)
            if alike <= likeness and parts != theirs[j]:
                found.append((i, j, likeness))
    return found


def _shingles(text: str) -> frozenset[str]:
    plain = normalised(text)
    last = max(len(plain) - _SHINGLE + 1, 1)
    return frozenset(plain[i : i + _SHINGLE] for i in range(last))


def _rare(parts: frozenset[str], counts: Counter, alike: float) -> list[str]:
    """So many of the rarest shingles that two alike texts share one of them."""
    order = sorted(parts, key=lambda part: (counts[part], part))
    return order[: len(order) - math.ceil(alike * len(order)) + 1]


def _say_near_copies(splits: Splits) -> None:
    """A line on held-out texts that are alike to training texts."""
    train = splits.train
    for name in ("validation", "test"):
        part = getattr(splits, name)
        if part is None:
            continue
        pairs = near_copies(part.texts, train.texts)
        if pairs:
            lines = [
                f"{shown(part.texts[i])} ~ {shown(train.texts[j])}" for i, j, _ in pairs
            ]
            count = len({i for i, _, _ in pairs})
            warn_user(
                f"{counted(count, 'text')} of the {name} part nearly copied from the "
                "training texts, which flatters its score (`groups` keeps such in one)",
                lines[:_NAMED],
                len(lines),
            )
