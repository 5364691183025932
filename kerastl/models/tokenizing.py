"""Texts as a network takes them: ids of pieces of a vocabulary that goes along."""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl._compat import import_keras_hub

#: Which tokens of a text that is too long are kept.
TRUNCATIONS = ("head", "tail", "middle")
#: What the special pieces are called, where the tokenizer does not say.
_SPECIAL = {
    "start": ("[CLS]", "<s>", "<bos>", "<|endoftext|>"),
    "end": ("[SEP]", "</s>", "<eos>", "<|endoftext|>"),
    "pad": ("[PAD]", "<pad>"),
    "unknown": ("[UNK]", "<unk>"),
}
#: Families of keras-hub that take more, or less, than ids and a mask.
_INPUTS = {
    "Bert": ("token_ids", "padding_mask", "segment_ids"),
    "Albert": ("token_ids", "padding_mask", "segment_ids"),
    "Electra": ("token_ids", "padding_mask", "segment_ids"),
    "FNet": ("token_ids", "segment_ids"),
    "RoformerV2": ("token_ids", "segment_ids"),
}
_NAMES = ("token_ids", "padding_mask", "segment_ids")
#: Rows that an embedding may have beyond the pieces: large ones are padded.
_PADDED_ROWS = 127
#: Ids that `fitted` gives a row at most, where the network does not say.
_LONGEST_FIT = 512


class TextEncoder:
    """Turns texts into arrays of ids, one start and one end id around each text.

    The vocabulary is part of it, and its configuration goes into the model's `.keras`
    file, so that a saved model takes raw texts. A text that spells a special piece,
    such as `"[SEP]"`, is text: only the encoder adds those. WordPiece and byte-level
    BPE run here, without keras-hub; SentencePiece needs it.

    Args:
        tokenizer: A tokenizer or preprocessor of keras-hub; or the pieces of a
            WordPiece vocabulary in the order of their ids, or the path of a `vocab.txt`
            of them.
        sequence_length: Ids in a row, start and end included; shorter texts are padded.
        truncate: What is kept of a longer text: `"head"` its beginning, `"tail"` its
            end, `"middle"` leaves out the middle and keeps both ends.
        lowercase: Whether to fold case first. None: as the tokenizer; with a vocabulary
            alone, whether it holds no capital letter.
        names: The network's inputs, among `"token_ids"`, `"padding_mask"` and
            `"segment_ids"`. None: those of the tokenizer's family, all three with a
            vocabulary alone.

    Raises:
        TypeError: If the tokenizer is of no known kind.
        ValueError: If special pieces are missing, or an option is none of its choices.

    Example:
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film", "##s"]
        >>> encoder = TextEncoder(pieces, sequence_length=6)
        >>> encoder(["A fine film", "films"])["token_ids"].tolist()
        [[2, 4, 5, 6, 3, 0], [2, 6, 7, 3, 0, 0]]
        >>> encoder.decode([2, 6, 7, 3, 0, 0])
        'films'

    Reference:
        Wu et al. (2016), Google's neural machine translation system, section 4.1;
        Radford et al. (2019), section 2.2 (byte-level BPE); Sun et al. (2019), How to
        fine-tune BERT for text classification, section 5.3.1 (what to keep).
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        sequence_length: int = 128,
        truncate: str = "head",
        lowercase: bool | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """See the class."""
        if isinstance(tokenizer, Mapping):
            # What `to_config` wrote: see `from_config`.
            config = dict(tokenizer)
        else:
            tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
            if names is None:
                family = type(tokenizer).__name__.removesuffix("Tokenizer")
                plain = isinstance(tokenizer, (str, Path, list, tuple))
                names = _NAMES if plain else _INPUTS.get(family, _NAMES[:2])
            config = _form_config(tokenizer, lowercase)
            config["sequence_length"] = sequence_length
            config |= {"truncate": truncate, "names": names}
        self.sequence_length = config["sequence_length"]
        self.truncate = config["truncate"]
        self.names = tuple(config["names"])
        self.lowercase = bool(config["lowercase"])
        check_integer("sequence_length", self.sequence_length, 3)
        check_choice("truncate", self.truncate, TRUNCATIONS)
        for name in self.names:
            check_choice("names", name, _NAMES)
        if "token_ids" not in self.names:
            fail("names", "with 'token_ids' among them", self.names)
        self._form = _FORMS[config["form"]](config)
        special = config["special"]
        self.start_id, self.end_id, self.pad_id, self.unknown_id = (
            special[name] for name in _SPECIAL
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The pieces, in the order of their ids."""
        return self._form.pieces

    @property
    def vocabulary_size(self) -> int:
        """Number of ids."""
        return len(self.vocabulary)

    @property
    def vocabulary_sum(self) -> str:
        """sha256 of all that decides which ids a text gets, in hexadecimal."""
        return _sum(self._form.config(), self.lowercase)

    def __eq__(self, other: object) -> bool:
        """Whether the other gives the same arrays."""
        if not isinstance(other, TextEncoder):
            return NotImplemented
        return self.to_config() == other.to_config()

    def __hash__(self) -> int:
        """Of the vocabulary and the length."""
        return hash((self.vocabulary_sum, self.sequence_length))

    def __repr__(self) -> str:
        """Its kind and sizes, never the vocabulary."""
        case = "lower case" if self.lowercase else "case kept"
        return (
            f"TextEncoder({self._form.kind}, {self.vocabulary_size} pieces, {case}, "
            f"{self.sequence_length} ids, truncate={self.truncate!r})"
        )

    def __call__(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Arrays of ids, one row a text, padded to `sequence_length`.

        Args:
            texts: Strings.

        Returns:
            For each of `names`: `token_ids` int32, `padding_mask` bool (True: a real
            id, of its place and not of its value), `segment_ids` int32 zeros, each
            `(n, sequence_length)`.
        """
        return self.packed(self.tokenize(texts))

    def packed(self, rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """The same from ids of pieces, one list a text, as `tokenize` gives them."""
        shape = (len(rows), self.sequence_length)
        ids = np.full(shape, self.pad_id, np.int32)
        mask = np.zeros(shape, bool)
        for i, row in enumerate(rows):
            kept = [self.start_id, *self.kept(row), self.end_id]
            ids[i, : len(kept)] = kept
            mask[i, : len(kept)] = True
        arrays = {"token_ids": ids, "padding_mask": mask}
        arrays["segment_ids"] = np.zeros(shape, np.int32)
        return {name: arrays[name] for name in self.names}

    def kept(self, row: Sequence[Any]) -> list[Any]:
        """What is kept of a text's pieces, or of anything that goes along with them."""
        room = self.sequence_length - 2
        row = list(row)
        if len(row) <= room:
            return row
        if self.truncate == "head":
            return row[:room]
        if self.truncate == "tail":
            return row[-room:]
        back = room // 2
        return row[: room - back] + row[len(row) - back :]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text's pieces: whole, and without start and end."""
        return self._form.ids([self._folded(text) for text in _checked(texts)])

    def tokenize_words(self, words: Sequence[str]) -> list[list[int]]:
        """Ids of each word's pieces, for words that stand in one text in this order."""
        words = [self._folded(word) for word in _checked(words)]
        if self._form.spaced:
            words = [f" {word}" if i else word for i, word in enumerate(words)]
        return self._form.ids(words)

    def _folded(self, text: str) -> str:
        return text.lower() if self.lowercase and self._form.spaced else text

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special pieces left out; WordPiece has lost its spaces."""
        special = {self.start_id, self.end_id}
        if self.pad_id not in (None, self.unknown_id) and self._has_own_pad:
            special.add(self.pad_id)
        return self._form.text([int(i) for i in ids if int(i) not in special])

    @property
    def _has_own_pad(self) -> bool:
        """Whether the padding id is a piece of its own: GPT-2's is an ordinary one."""
        return self.vocabulary[self.pad_id] in _SPECIAL["pad"]

    def changed(self, **options: Any) -> "TextEncoder":
        """The same with another `sequence_length`, `truncate` or `names`."""
        unknown = sorted(set(options) - {"sequence_length", "truncate", "names"})
        if unknown:
            fail("options", "of sequence_length, truncate and names", unknown)
        return TextEncoder.from_config({**self.to_config(), **options})

    def fitted(self, texts: Sequence[str], most: int | None = None) -> "TextEncoder":
        """The same, as long as all but a twentieth of these texts need it.

        Args:
            texts: Strings: of the training part alone.
            most: Ids in a row at most, such as the positions a network has; None: 512.
        """
        lengths = [len(row) + 2 for row in self.tokenize(texts)]
        # Lengths are few, so that few programs are compiled.
        needed = -(-int(np.quantile(lengths, 0.95, method="higher")) // 8) * 8
        return self.changed(sequence_length=min(needed, most or _LONGEST_FIT))

    def check_rows(self, rows: int, name: str = "tokenizer") -> None:
        """Raise unless an embedding of so many rows can be this vocabulary's."""
        more = rows - self.vocabulary_size
        spare = 0 if self._form.kind == "WordPiece" else _PADDED_ROWS
        if not 0 <= more <= spare:
            expected = f"the network's own, whose embedding has {rows} rows"
            hint = "A tokenizer and its network come from one preset."
            fail(name, expected, f"{self.vocabulary_size} pieces", hint)

    def to_config(self) -> dict[str, Any]:
        """A JSON-ready dictionary, the vocabulary included."""
        ids = (self.start_id, self.end_id, self.pad_id, self.unknown_id)
        return {
            **self._form.config(),
            "lowercase": self.lowercase,
            "special": dict(zip(_SPECIAL, ids, strict=True)),
            "sequence_length": self.sequence_length,
            "truncate": self.truncate,
            "names": list(self.names),
            "sum": self.vocabulary_sum,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "TextEncoder":
        """Rebuild from `to_config`.

        Raises:
            ValueError: If the vocabulary is not the one that was written, or its kind
                is unknown.
        """
        if config.get("form") not in _FORMS:
            hint = "Update kerastl, or build the model anew."
            expected = f"of a kind in {list(_FORMS)}"
            fail("tokenizer", expected, config.get("form"), hint)
        encoder = cls(config)
        if config.get("sum") not in (None, encoder.vocabulary_sum):
            hint = "The file was changed, or its vocabulary is another model's."
            expected = f"the vocabulary of sum {config['sum'][:12]}..."
            fail("tokenizer", expected, f"{encoder.vocabulary_sum[:12]}...", hint)
        return encoder


def _checked(texts: Any) -> list[str]:
    """The texts as a list of strings."""
    if isinstance(texts, str):
        hint = "Pass a list, of one text too."
        fail("texts", "a sequence of strings", texts[:40], hint, TypeError)
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            kind = f"{type(text).__name__} at {i}"
            fail("texts", "strings", kind, error=TypeError)
    return texts


def _sum(config: Mapping[str, Any], lowercase: bool) -> str:
    text = json.dumps([config, bool(lowercase)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _form_config(tokenizer: Any, lowercase: bool | None) -> dict[str, Any]:
    """What a tokenizer is made of: its form, vocabulary, case and special ids."""
    if isinstance(tokenizer, (str, Path)):
        tokenizer = _read_vocabulary(Path(tokenizer))
    if isinstance(tokenizer, (list, tuple)):
        pieces = _check_pieces(tokenizer)
        if lowercase is None:
            lowercase = not any(
                p != p.lower() for p in pieces if not re.fullmatch(r"\[\w+\]", p)
            )
        config = {"form": "wordpiece", "pieces": pieces, "suffix": "##"}
        config |= {"strip_accents": bool(lowercase), "split_on_cjk": True}
        unknown = pieces.index("[UNK]") if "[UNK]" in pieces else None
        return _with_special(config, pieces, None, bool(lowercase), unknown)
    if not hasattr(tokenizer, "get_vocabulary"):
        kinds = "a tokenizer of keras-hub, WordPiece pieces, or the file of them"
        fail("tokenizer", kinds, type(tokenizer).__name__, error=TypeError)
    pieces = [_as_text(piece) for piece in tokenizer.get_vocabulary()]
    own = bool(getattr(tokenizer, "lowercase", False))
    lowercase = own if lowercase is None else bool(lowercase)
    unknown = None
    if hasattr(tokenizer, "suffix_indicator"):
        config = {"form": "wordpiece", "pieces": pieces}
        config["suffix"] = tokenizer.suffix_indicator
        config["strip_accents"] = bool(tokenizer.strip_accents)
        config["split_on_cjk"] = bool(tokenizer.split_on_cjk)
        unknown = pieces.index(tokenizer.oov_token)
    elif hasattr(tokenizer, "merges"):
        ids = {_as_text(piece): int(i) for piece, i in tokenizer.vocabulary.items()}
        pieces = [""] * (max(ids.values()) + 1)
        for piece, i in ids.items():
            pieces[i] = piece
        merges = [_as_text(merge) for merge in tokenizer.merges]
        config = {"form": "bytes", "pieces": pieces, "merges": merges}
        config["prefix_space"] = bool(tokenizer.add_prefix_space)
    elif hasattr(tokenizer, "proto"):
        proto = base64.b64encode(tokenizer.proto).decode()
        config = {"form": "sentencepiece", "proto": proto}
        config["class"] = type(tokenizer).__name__
    else:
        kinds = "of WordPiece, byte-level BPE or SentencePiece"
        fail("tokenizer", kinds, type(tokenizer).__name__, error=TypeError)
    return _with_special(config, pieces, tokenizer, lowercase, unknown)


def _as_text(piece: Any) -> str:
    return piece.decode() if isinstance(piece, bytes) else str(piece)


def _read_vocabulary(path: Path) -> list[str]:
    if not path.expanduser().is_file():
        hint = f"{str(path.absolute())!r} does not exist."
        expected = "the file of a vocabulary, one piece a line"
        fail("tokenizer", expected, str(path), hint, FileNotFoundError)
    text = path.expanduser().read_text(encoding="utf-8-sig")
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]


def _check_pieces(pieces: Sequence[Any]) -> list[str]:
    pieces = list(pieces)
    if not all(isinstance(piece, str) for piece in pieces):
        kinds = sorted({type(piece).__name__ for piece in pieces})
        fail("tokenizer", "a list of strings", kinds, error=TypeError)
    if len(set(pieces)) != len(pieces):
        twice = sorted({piece for piece in pieces if pieces.count(piece) > 1})[:5]
        fail("tokenizer", "of pieces that differ", twice)
    return pieces


def _with_special(
    config: dict[str, Any],
    pieces: Sequence[str],
    tokenizer: Any,
    lowercase: bool,
    unknown: int | None,
) -> dict[str, Any]:
    """The configuration with the ids of the special pieces."""
    found: dict[str, int | None] = {}
    for name, known in _SPECIAL.items():
        own = getattr(tokenizer, f"{name}_token_id", None)
        named = [pieces.index(piece) for piece in known if piece in pieces]
        found[name] = own if own is not None else (named or [None])[0]
    if unknown is not None:
        found["unknown"] = unknown
    if config["form"] == "wordpiece":
        lacking = [name for name in _SPECIAL if found[name] is None]
    else:
        lacking = [name for name in ("start", "end", "pad") if found[name] is None]
    if lacking:
        expected = [" or ".join(_SPECIAL[name]) for name in lacking]
        fail("tokenizer", f"of a vocabulary with {', '.join(expected)}", "one without")
    special = {k: None if v is None else int(v) for k, v in found.items()}
    return {**config, "lowercase": lowercase, "special": special}


class _WordPiece:
    """Words cut into the longest known pieces, from the left."""

    kind = "WordPiece"
    #: Whether a word in the middle of a text differs from one at its start.
    spaced = False
    _LONGEST = 100

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.pieces = tuple(config["pieces"])
        self._settings = {
            name: config[name] for name in ("suffix", "strip_accents", "split_on_cjk")
        }
        self._suffix = config["suffix"]
        self._lowercase = config["lowercase"]
        self._ids = {piece: i for i, piece in enumerate(self.pieces)}
        self._unknown = config["special"]["unknown"]
        self._of_word = lru_cache(maxsize=100_000)(self._cut)

    def config(self) -> dict[str, Any]:
        return {"form": "wordpiece", "pieces": list(self.pieces), **self._settings}

    def ids(self, texts: list[str]) -> list[list[int]]:
        return [
            [i for word in self._words(text) for i in self._of_word(word)]
            for text in texts
        ]

    def text(self, ids: list[int]) -> str:
        words: list[str] = []
        for i in ids:
            piece = self.pieces[i]
            if words and piece.startswith(self._suffix):
                words[-1] += piece.removeprefix(self._suffix)
            else:
                words.append(piece)
        return " ".join(words)

    def _words(self, text: str) -> list[str]:
        """Words and punctuation marks, folded if that is asked."""
        if self._settings["strip_accents"]:
            text = unicodedata.normalize("NFD", text)
            text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        words, start = [], 0
        for i, character in enumerate(text):
            kind = _kind(character)
            if kind == "inside" or (
                kind == "ideograph" and not self._settings["split_on_cjk"]
            ):
                continue
            if start < i:
                words.append(text[start:i])
            if kind != "space":
                words.append(character)
            start = i + 1
        words.append(text[start:])
        return [_folded(word) for word in words] if self._lowercase else words

    def _cut(self, word: str) -> tuple[int, ...]:
        if len(word.encode()) > self._LONGEST:
            return (self._unknown,)
        found, start = [], 0
        while start < len(word):
            mark = self._suffix if start else ""
            for end in range(len(word), start, -1):
                piece = self._ids.get(mark + word[start:end])
                if piece is not None:
                    break
            else:
                return (self._unknown,)
            found.append(piece)
            start = end
        return tuple(found)


#: Blocks of ideographs, which stand for themselves: as in BERT's own tokenizer.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


@lru_cache(maxsize=100_000)
def _kind(character: str) -> str:
    """What a character is to WordPiece: space, mark, ideograph or inside of a word."""
    category = unicodedata.category(character)
    if character in " \t\n\r\f" or category in ("Cc", "Cf", "Zs", "Zl", "Zp"):
        return "space"
    ascii_mark = character.isascii() and not character.isalnum()
    if ascii_mark or category.startswith("P"):
        return "mark"
    place = ord(character)
    ideograph = any(low <= place <= high for low, high in _IDEOGRAPHS)
    return "ideograph" if ideograph else "inside"


#: Unicode's default ignorable code points that are no control characters.
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


def _folded(word: str) -> str:
    """Case folded, in compatible characters: Unicode's NFKC_Casefold."""
    word = unicodedata.normalize("NFKC", word).casefold()
    return _IGNORED.sub("", unicodedata.normalize("NFKC", word))


class _BytePairs:
    """Bytes joined into pieces by ranked merges, as GPT-2 and RoBERTa do."""

    kind = "byte-level BPE"
    spaced = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.pieces = tuple(config["pieces"])
        self._merges = list(config["merges"])
        self._prefix = bool(config["prefix_space"])
        self._ids = {piece: i for i, piece in enumerate(self.pieces) if piece}
        self._ranks = {
            tuple(merge.split(" ")): rank for rank, merge in enumerate(self._merges)
        }
        self._unknown = config["special"]["unknown"]
        self._letters = _byte_letters()
        self._bytes = {letter: byte for byte, letter in enumerate(self._letters)}
        if self._unknown is None and not set(self._letters) <= set(self._ids):
            expected = "of a vocabulary with all 256 bytes, or with '<unk>'"
            fail("tokenizer", expected, "one without")
        self._of_word = lru_cache(maxsize=100_000)(self._joined)

    def config(self) -> dict[str, Any]:
        return {
            "form": "bytes",
            "pieces": list(self.pieces),
            "merges": self._merges,
            "prefix_space": self._prefix,
        }

    def ids(self, texts: list[str]) -> list[list[int]]:
        prefix = " " if self._prefix else ""
        return [
            [i for word in _byte_words(prefix + text) for i in self._of_word(word)]
            for text in texts
        ]

    def text(self, ids: list[int]) -> str:
        letters = "".join(self.pieces[i] for i in ids)
        known = bytes(self._bytes[c] for c in letters if c in self._bytes)
        return known.decode("utf-8", errors="replace")

    def _joined(self, word: str) -> tuple[int, ...]:
        parts = [self._letters[byte] for byte in word.encode("utf-8", "surrogatepass")]
        never = len(self._ranks)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, never))
            if best not in self._ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i : i + 2]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return tuple(self._ids.get(part, self._unknown) for part in parts)


def _byte_letters() -> list[str]:
    """A letter that can be printed for each byte, as GPT-2's vocabulary writes them."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(256)]


_CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)")
# Over one letter for each character: L letter, N number, W space (' ' the plain one).
_WORD = re.compile(r" ?L+| ?N+| ?O+|[ W]+(?![LNO])|[ W]+")


@lru_cache(maxsize=100_000)
def _letter(character: str) -> str:
    if character == " ":
        return " "
    if character.isspace() and character not in "\x1c\x1d\x1e\x1f":
        return "W"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "O"


def _byte_words(text: str) -> list[str]:
    """A text in the words of GPT-2's pattern: a space belongs to the word after it."""
    letters = "".join(map(_letter, text))
    words, start = [], 0
    while start < len(text):
        found = _CONTRACTION.match(text, start) or _WORD.match(letters, start)
        words.append(text[start : found.end()])
        start = found.end()
    return words


class _SentencePiece:
    """A SentencePiece model, run by the tokenizer of keras-hub that it came from."""

    kind = "SentencePiece"
    spaced = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        hub = _keras_hub()
        self._proto, self._class = config["proto"], config["class"]
        kind = getattr(hub.tokenizers, self._class, None)
        kind = kind or getattr(hub.models, self._class, None)
        if kind is None:
            hint = "Update keras-hub."
            fail("tokenizer", "a tokenizer that keras-hub has", self._class, hint)
        self._tokenizer = kind(proto=base64.b64decode(self._proto))
        self.pieces = tuple(map(_as_text, self._tokenizer.get_vocabulary()))

    def config(self) -> dict[str, Any]:
        return {"form": "sentencepiece", "proto": self._proto, "class": self._class}

    def ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        rows = self._tokenizer.tokenize(texts)
        rows = rows.to_list() if hasattr(rows, "to_list") else rows
        return [[int(i) for i in row] for row in rows]

    def text(self, ids: list[int]) -> str:
        found = self._tokenizer.detokenize([ids])[0]
        found = found.numpy() if hasattr(found, "numpy") else found
        return _as_text(found)


def _keras_hub() -> Any:
    """keras-hub, or the sentence that says how to get it."""
    try:
        return import_keras_hub()
    except ImportError:
        hint = "Install it: pip install 'kerastl[hub]'"
        expected = "run by keras-hub, as SentencePiece is"
        fail("tokenizer", expected, "no keras-hub", hint, ImportError)


_FORMS = {"wordpiece": _WordPiece, "bytes": _BytePairs, "sentencepiece": _SentencePiece}
