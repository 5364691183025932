"""What a tagger says of texts: words with their places, their tags, and entities."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kerastl.data.dense import DenseLabels
from kerastl.data.texts import TextSet, WordTags
from kerastl.models.tokenizing import TextEncoder
from kerastl.tasks.token_scores import IGNORED

#: Kind of an entity, first token and the one after its last.
Span = tuple[str, int, int]

# Addresses and names as of messages, numbers, words with their hyphens and
# apostrophes; each other character is a word of its own.
_WORD = re.compile(r"https?://\S+|\d+(?:[.,:]\d+)*|[@#]?\w+(?:[-'\u2019]\w+)*|[^\w\s]")


def find_spans(tags: Sequence[str]) -> tuple[Span, ...]:
    """The entities that tags of the scheme BIO stand for.

    `B-x` begins an entity of kind x. `I-x` goes on with one; where none of its kind
    goes before, it begins one, as in the scoring of CoNLL-2003.

    Args:
        tags: One a word, such as `"O"`, `"B-person"`, `"I-person"`.

    Returns:
        `(kind, start, stop)` of each, `stop` one behind its last word.

    Example:
        >>> find_spans(["B-person", "I-person", "O", "I-place", "B-place"])
        (('person', 0, 2), ('place', 3, 4), ('place', 4, 5))

    Reference:
        Tjong Kim Sang and De Meulder (2003), Introduction to the CoNLL-2003 shared
        task, section 2.
    """
    found: list[Span] = []
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, here = tag.partition("-")
        goes_on = mark == "I" and here == kind and kind
        if kind and not goes_on:
            found.append((kind, start, place))
        if not goes_on:
            kind, start = (here if mark in ("B", "I") else ""), place
    return tuple(found)


def split_words(text: str) -> list[tuple[str, int]]:
    """The words of a text, and the number of the character at which each begins.

    Args:
        text: As it was written.

    Returns:
        Runs of letters and digits, with the hyphens and apostrophes inside them,
        addresses, and every other character but spaces by itself.

    Example:
        >>> split_words("Ada's son, 3.5")
        [("Ada's", 0), ('son', 6), (',', 9), ('3.5', 11)]
    """
    return [(match.group(), match.start()) for match in _WORD.finditer(text)]


def words_of(texts: TextSet) -> tuple[list[list[str]], list[list[int]]]:
    """The words of each text and where they begin: those that were tagged, or split."""
    if not isinstance(texts.labels, WordTags):
        split = [split_words(text) for text in texts.texts]
        words = [[word for word, _ in row] for row in split]
        return words, [[start for _, start in row] for row in split]
    words, starts = [list(row) for row in texts.labels.words], []
    for text, row in zip(texts.texts, words, strict=True):
        places, at = [], 0
        for word in row:
            # A text that is not made of its words in order has no places for them.
            found = text.find(word, at)
            places.append(found)
            at = max(at, found + len(word))
        starts.append(places)
    return words, starts


def _pieces(words: Sequence[str], encoder: TextEncoder) -> list[list[int]]:
    """Ids of each word's pieces, at least one a word."""
    if not words:
        return []
    found = encoder.tokenize_words(words)
    return [row or [encoder.unknown_id or 0] for row in found]


def tagged_rows(
    texts: TextSet, encoder: TextEncoder, class_names: Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Texts with `WordTags` as arrays to train on, one row a text.

    Returns:
        What the encoder gives, and `(n, t)` int32: a tag's index at the first piece of
        each word that is kept, -1 at all else.
    """
    labels = texts.labels
    place = {name: i for i, name in enumerate(class_names)}
    index = [place[name] for name in labels.class_names]
    rows, targets = [], []
    for words, tags in zip(labels.words, labels.tags, strict=True):
        pairs = [
            (piece, index[tag] if number == 0 else IGNORED)
            for pieces, tag in zip(_pieces(words, encoder), tags, strict=True)
            for number, piece in enumerate(pieces)
        ]
        rows.append([piece for piece, _ in pairs])
        targets.append([tag for _, tag in encoder.kept(pairs)] if pairs else [])
    asked = np.full((len(rows), encoder.sequence_length), IGNORED, np.int32)
    for row, kept in zip(asked, targets, strict=True):
        # After the start.
        row[1 : 1 + len(kept)] = kept
    return encoder.packed(rows), asked


def windows(
    words: Sequence[Sequence[str]], encoder: TextEncoder
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Texts in as many rows as they need, so that no word is left out.

    Returns:
        What the encoder gives, and of each text `(words, 2)`: row and column of each
        word's first piece.
    """
    room = encoder.sequence_length - 2
    rows: list[list[int]] = []
    places = []
    for text in words:
        rows.append([])
        found = []
        for pieces in _pieces(text, encoder):
            kept = pieces[:room]
            if len(rows[-1]) + len(kept) > room:
                rows.append([])
            found.append((len(rows) - 1, 1 + len(rows[-1])))
            rows[-1] += kept
        places.append(np.array(found, np.int64).reshape(-1, 2))
    return encoder.packed(rows), places


@dataclass(frozen=True)
class Entity:
    """Something that a text names.

    Attributes:
        kind: What it is, such as `"person"`.
        text: As it was written.
        start: Number of its first character in the text.
        stop: One behind its last.
        probability: The lowest of its words' probabilities, of their tags.
    """

    kind: str
    text: str
    start: int
    stop: int
    probability: float


@dataclass(frozen=True, eq=False)
class TaggedTexts:
    """The words of texts, each with its tag, in the order of the texts.

    Attributes:
        class_names: Tags in the order of the columns.
        texts: As they were given.
        words: The words of each.
        starts: Number of the first character of each word.
        probabilities: Float array `(words, tags)` of each text.
    """

    class_names: tuple[str, ...]
    texts: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    starts: tuple[tuple[int, ...], ...]
    probabilities: tuple[np.ndarray, ...]

    #: Of `to_rows`.
    columns: ClassVar[tuple[str, ...]] = (
        "text",
        "entity",
        "kind",
        "start",
        "stop",
        "probability",
    )

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    def tags(self) -> list[list[str]]:
        """The most probable tag of each word."""
        return [
            [self.class_names[i] for i in row.argmax(axis=1)] if len(row) else []
            for row in self.probabilities
        ]

    def entities(self) -> list[list[Entity]]:
        """The entities of each text; of tags that are not BIO, each word as one."""
        scheme = all(n == "O" or n[:2] in ("B-", "I-") for n in self.class_names)
        found = []
        for number, tags in enumerate(self.tags()):
            spans = [(tag, i, i + 1) for i, tag in enumerate(tags)]
            spans = find_spans(tags) if scheme else spans
            found.append([self._entity(number, *span) for span in spans])
        return found

    def _entity(self, number: int, kind: str, first: int, stop: int) -> Entity:
        words, starts = self.words[number], self.starts[number]
        begin, end = starts[first], starts[stop - 1] + len(words[stop - 1])
        text = self.texts[number][begin:end]
        if min(starts[first:stop]) < 0:
            text, begin, end = " ".join(words[first:stop]), -1, -1
        surest = self.probabilities[number][first:stop].max(axis=1)
        return Entity(kind, text, begin, end, float(surest.min()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary a text: `text`, `words`, `tags`, and `entities`."""
        tagged = zip(self.texts, self.words, self.tags(), self.entities(), strict=True)
        for text, words, tags, entities in tagged:
            rows = [dict(vars(each)) for each in entities]
            yield {"text": text, "words": words, "tags": tags, "entities": rows}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary an entity, with `columns`."""
        return [
            {"text": text, "entity": each.text} | _rest(each)
            for text, entities in zip(self.texts, self.entities(), strict=True)
            for each in entities
        ]


def _rest(entity: Entity) -> dict[str, Any]:
    return {name: value for name, value in vars(entity).items() if name != "text"}


def tag_texts(
    texts: TextSet,
    encoder: TextEncoder,
    class_names: tuple[str, ...],
    probabilities: Callable[[Mapping[str, np.ndarray]], np.ndarray],
) -> TaggedTexts:
    """Texts tagged word by word.

    Args:
        texts: With tagged words, which are taken as they are, or plain.
        encoder: The model's.
        class_names: Its tags.
        probabilities: From the encoder's arrays to `(rows, t, tags)`.
    """
    words, starts = words_of(texts)
    rows, places = windows(words, encoder)
    made = probabilities(rows)
    chosen = tuple(made[place[:, 0], place[:, 1]] for place in places)
    return TaggedTexts(
        class_names,
        texts.texts,
        tuple(map(tuple, words)),
        tuple(map(tuple, starts)),
        chosen,
    )


def true_tags(labels: DenseLabels) -> np.ndarray:
    """The tags of each text's words by name: an array of lists, one a text."""
    found = np.empty(len(labels), object)
    for number, row in enumerate(labels.tags):
        found[number] = [labels.class_names[tag] for tag in row]
    return found
