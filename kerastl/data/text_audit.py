"""What is wrong with a set of texts, before anything is trained on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kerastl._tables import Tabular, plain
from kerastl.data.sets import conflicts, copies
from kerastl.data.texts import TextSet, near_copies, shown

_SHOWN = 5
#: From these on a vocabulary hardly knows the language of the texts.
_UNKNOWN, _PIECES_A_WORD = 0.05, 3.0
#: Texts that near-copies are looked for among, at most.
_COMPARED = 20_000


@dataclass(frozen=True, kw_only=True)
class TextAuditReport(Tabular):
    """What `audit` found in texts; print it, or take `to_dict()`.

    Attributes:
        name: The file, folder or set.
        num_texts: Texts that were looked at.
        counts: Texts of each class, as `"class"` or `"part/class"`.
        majority: Share of the most frequent class: the accuracy of a constant answer;
            None without classes.
        empty: Rows without a text, which were left out.
        small_classes: Classes with fewer texts than asked for.
        duplicates: Groups of copies with one label, within one part.
        conflicts: Groups of copies with different labels.
        leaks: Groups of copies in more than one part.
        near_copies: Pairs that are alike, of two parts where there are such.
        characters: (least, median, most) of a text.
        pieces: The same in ids, start and end included; None without an encoder.
        over_length: Share of texts longer than the encoder's rows; None likewise.
        unknown: Share of pieces that the vocabulary does not know; None likewise.
        pieces_a_word: Mean number of pieces of a word; None likewise.
        notes: What the vocabulary says of the texts' language and case.

    Example:
        >>> report = audit_texts({"": TextSet(["A fine film", "a FINE film"], [0, 1],
        ...                                   ("bad", "good"))})
        >>> report.conflicts
        (("text 0 ('A fine film')", "text 1 ('a FINE film')"),)
    """

    name: str
    num_texts: int
    counts: dict[str, int]
    majority: float | None
    empty: int = 0
    small_classes: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    leaks: tuple[tuple[str, ...], ...] = ()
    near_copies: tuple[tuple[str, str], ...] = ()
    characters: tuple[float, float, float]
    pieces: tuple[float, float, float] | None = None
    over_length: float | None = None
    unknown: float | None = None
    pieces_a_word: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found that spoils training or its score."""
        faults = self.empty, self.small_classes, self.conflicts, self.leaks, self.notes
        return self.num_texts > 0 and not any(faults)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, ready for JSON."""
        return {**asdict(self), "ok": self.ok}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [{"class": k, "texts": n} for k, n in self.counts.items()]

    def _repr_html_(self) -> str:
        """The page in a notebook, counts and faults."""
        return f"<pre>{plain(self)}</pre>"

    def __str__(self) -> str:
        """A page to read: counts first, then each kind of fault."""
        lines = [f"{self.name}: {self.num_texts} texts"]
        lines += [f"  {name:<24} {count}" for name, count in self.counts.items()]
        if self.majority is not None:
            lines.append(f"always the same answer: {self.majority:.1%} right")
        for title, sizes in (("characters", self.characters), ("ids", self.pieces)):
            if sizes:
                low, middle, high = (f"{size:g}" for size in sizes)
                lines.append(f"{title}: {low} to {high}, median {middle}")
        for title, share in (("cut off", self.over_length), ("unknown", self.unknown)):
            if share is not None:
                of = "texts" if title == "cut off" else "pieces"
                lines.append(f"{title}: {share:.1%} of the {of}")
        if self.empty:
            lines.append(f"rows without a text: {self.empty}")
        faults = {
            "notes": self.notes,
            "small classes": self.small_classes,
            "duplicates": [" = ".join(same) for same in self.duplicates],
            "copies with different labels": [" = ".join(c) for c in self.conflicts],
            "copies in several parts": [" = ".join(same) for same in self.leaks],
            "nearly copies": [" ~ ".join(pair) for pair in self.near_copies],
        }
        found = {title: items for title, items in faults.items() if items}
        for title, items in found.items():
            lines += [f"{title}: {len(items)}", *(f"  {i}" for i in items[:_SHOWN])]
            if len(items) > _SHOWN:
                lines.append(f"  and {len(items) - _SHOWN} more")
        if not found and not self.empty:
            lines.append("no faults found")
        return "\n".join(lines)


def audit_texts(
    parts: Mapping[str, TextSet],
    *,
    name: str = "texts",
    smallest_class: int = 10,
    encoder: Any = None,
    empty: int = 0,
) -> TextAuditReport:
    """Copies, conflicts, leaks, lengths and unknown pieces of texts.

    Args:
        parts: Part -> its texts; `""` where there are no parts.
        name: What to call them.
        smallest_class: Classes with fewer texts are reported.
        encoder: The `TextEncoder` of the model that is to read them, or None.
        empty: Rows without a text that were left out.
    """
    texts = [text for part in parts.values() for text in part.texts]
    where = np.repeat(list(parts), [len(part) for part in parts.values()])
    labels = _labels(parts)
    contents = np.concatenate([part.digests() for part in parts.values()])
    named = [f"text {i} ({shown(text)})" for i, text in enumerate(texts)]
    again = copies(contents)
    differ = {tuple(same) for same in map(tuple, conflicts(contents, labels))}
    leaks = [same for same in again if len(set(where[same])) > 1]
    plain = [
        same
        for same in again
        if len(set(where[same])) == 1 and tuple(same) not in differ
    ]
    counts = {
        f"{part}/{key}" if part else key: count
        for part, each in parts.items()
        for key, count in each.counts().items()
    }
    totals = np.array([list(each.counts().values()) for each in parts.values()])
    # Of tagged words a text has several.
    dense = any(each.dense for each in parts.values())
    single = labels is not None and labels.ndim == 1 and totals.size and not dense
    lengths = [len(text) for text in texts]

    def lines(groups: Any) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(named[i] for i in same) for same in groups)

    return TextAuditReport(
        name=name,
        num_texts=len(texts),
        counts=counts,
        majority=float(totals.sum(axis=0).max() / len(texts)) if single else None,
        empty=empty,
        small_classes=tuple(key for key, n in counts.items() if n < smallest_class),
        duplicates=lines(plain),
        conflicts=lines(sorted(differ)),
        leaks=lines(leaks),
        near_copies=_alike(parts, texts),
        characters=_range(lengths),
        **({} if encoder is None else _encoded(texts, encoder)),
    )


def _labels(parts: Mapping[str, TextSet]) -> np.ndarray | None:
    """What is asked of all texts, to be compared row by row; None of nothing."""
    found = [
        part.labels.digests() if part.dense else part.labels for part in parts.values()
    ]
    return None if any(each is None for each in found) else np.concatenate(found)


def _range(sizes: Sequence[int]) -> tuple[float, float, float]:
    """Least, median and most."""
    return float(min(sizes)), float(np.median(sizes)), float(max(sizes))


def _alike(
    parts: Mapping[str, TextSet], texts: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Pairs that are nearly copies, of held-out and training texts if there are."""
    if len(texts) > _COMPARED:
        return ()
    train = parts.get("train")
    if train is None:
        pairs = near_copies(texts)
        return tuple((shown(texts[i]), shown(texts[j])) for i, j, _ in pairs)
    return tuple(
        (shown(part.texts[i]), shown(train.texts[j]))
        for name, part in parts.items()
        if name != "train"
        for i, j, _ in near_copies(part.texts, train.texts)
    )


def _encoded(texts: Sequence[str], encoder: Any) -> dict[str, Any]:
    """Lengths and unknown pieces, and what they say of language and case."""
    rows = encoder.tokenize(texts)
    lengths = [len(row) + 2 for row in rows]
    pieces = max(sum(map(len, rows)), 1)
    missing = sum(row.count(encoder.unknown_id) for row in rows) / pieces
    words = sum(len(text.split()) for text in texts)
    a_word, notes = pieces / max(words, 1), []
    if missing > _UNKNOWN:
        notes.append(
            f"{missing:.1%} of the pieces are unknown to the vocabulary: these texts "
            "are of another language or script than its own."
        )
    elif a_word > _PIECES_A_WORD:
        notes.append(
            f"A word takes {a_word:.1f} pieces: the vocabulary is perhaps of another "
            "language."
        )
    # Special pieces are in capitals.
    capital = any(p != p.lower() and p[0] not in "[<" for p in encoder.vocabulary if p)
    if not encoder.lowercase and not capital and any(t != t.lower() for t in texts):
        notes.append(
            "The texts have capital letters, and the vocabulary has none: take its "
            "encoder with lowercase=True."
        )
    over = [length > encoder.sequence_length for length in lengths]
    return {
        "pieces": _range(lengths),
        "over_length": float(np.mean(over)),
        "unknown": missing,
        "pieces_a_word": a_word,
        "notes": tuple(notes),
    }
