"""A class for each token of a text: named entities, parts of speech."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl._tables import Tabular
from kerastl.data.texts import TextSet, WordTags
from kerastl.models.tokenizing import TextEncoder
from kerastl.tasks.tagged_texts import (
    TaggedTexts,
    find_spans,
    tag_texts,
    tagged_rows,
    true_tags,
)
from kerastl.tasks.task import Task, register_task
from kerastl.tasks.text_models import attach_head, build_token_model
from kerastl.tasks.token_scores import (
    IGNORED,
    TokenAccuracy,
    TokenCrossentropy,
    TokenLoss,
    check_token_targets,
)

_RESAMPLES = 1000
_SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class TagPredictions(Tabular):
    """A tag for each token of each text, in the order of the inputs.

    Attributes:
        class_names: Tags in the order of the columns.
        probabilities: Float array `(n, t, tags)`.
        paths: File of each text, or None.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    paths: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.probabilities)

    @property
    def indices(self) -> np.ndarray:
        """Most probable tag of each token, `(n, t)`."""
        return self.probabilities.argmax(axis=-1)

    def tags(self, asked: np.ndarray | None = None) -> list[list[str]]:
        """The tags of each text, of those tokens alone that are asked.

        Args:
            asked: Booleans `(n, t)`: the first piece of each word. None: all tokens.
        """
        rows = self.indices
        asked = np.ones(rows.shape, bool) if asked is None else np.asarray(asked, bool)
        return [
            [self.class_names[tag] for tag in row[kept]]
            for row, kept in zip(rows, asked, strict=True)
        ]

    def _heading(self) -> str:
        return f"{len(self)} texts"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary a text: `path`, and the `tags` of all its tokens."""
        for number, tags in enumerate(self.tags()):
            path = self.paths[number] if self.paths else None
            yield {"path": path, "tags": tags}


@dataclass(frozen=True)
class SpanScores:
    """How well entities of one kind are found.

    Attributes:
        name: The kind.
        found: Entities predicted.
        true: Entities there are.
        right: Predicted ones of which kind and both ends are right.
    """

    name: str
    found: int
    true: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the predicted that are right; 0 where none is predicted."""
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the true that are found; 0 where there are none."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 0 where there is nothing to find or found."""
        total = self.found + self.true
        return 2 * self.right / total if total else 0.0


@dataclass(frozen=True)
class TaggingReport(Tabular):
    """A tagger's scores on one set of texts.

    Attributes:
        texts: Number of texts.
        tokens: Number of tokens that were asked.
        accuracy: Share of right tags; that of "O" alone may be high.
        majority: What always giving the most frequent tag has.
        per_kind: One row a kind of entity; none where the tags are not BIO.
        f1_interval: 95 % limits of `f1`, by the percentile bootstrap over texts.
        seconds: What the predictions took, or None.
    """

    texts: int
    tokens: int
    accuracy: float
    majority: float
    per_kind: tuple[SpanScores, ...]
    f1_interval: tuple[float, float] | None
    seconds: float | None = None

    @property
    def overall(self) -> SpanScores:
        """All kinds together."""
        rows = [(row.found, row.true, row.right) for row in self.per_kind]
        return SpanScores(
            "all", *(map(sum, zip(*rows, strict=True)) if rows else (0,) * 3)
        )

    @property
    def f1(self) -> float:
        """F1 of entities whose kind and both ends are right, over all kinds."""
        return self.overall.f1

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        rows = [
            {
                **vars(row),
                "precision": row.precision,
                "recall": row.recall,
                "f1": row.f1,
            }
            for row in self.per_kind
        ]
        own = {name: value for name, value in vars(self).items() if name != "per_kind"}
        return {"task": TaggingTask.name, **own, "f1": self.f1, "per_kind": rows}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return self.to_dict()["per_kind"]

    def _heading(self) -> str:
        return "\n".join(str(self).splitlines()[:3])

    def __str__(self) -> str:
        """The report as a table for a terminal of 80 columns."""
        took = "" if self.seconds is None else f", {self.seconds:.2f} s"
        lines = [
            f"{self.texts} texts, {self.tokens} tokens{took}",
            f"accuracy {self.accuracy:.1%} of tokens; always the same tag: "
            f"{self.majority:.1%}",
        ]
        if self.per_kind:
            low, high = self.f1_interval
            lines.append(f"span F1 {self.f1:.1%} ({low:.1%} to {high:.1%})")
            lines.append(
                f"{'kind':<20}{'precision':>11}{'recall':>9}{'F1':>8}{'true':>7}"
            )
            lines += [
                f"{row.name:<20}{row.precision:>11.1%}{row.recall:>9.1%}"
                f"{row.f1:>8.1%}{row.true:>7}"
                for row in (*self.per_kind, self.overall)
            ]
        return "\n".join(lines)


def score_tags(
    truth: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    *,
    seconds: float | None = None,
    seed: int = 0,
) -> TaggingReport:
    """Exact-span scores of tags, word by word.

    Args:
        truth: The true tags of each text.
        predicted: As many for each.
        seconds: What the predictions took.
        seed: Of the bootstrap.

    Returns:
        Report that prints as a table.

    Raises:
        ValueError: If the lengths differ, or there is no tag.

    Example:
        >>> report = score_tags([["B-a", "I-a", "O"]], [["B-a", "O", "O"]])
        >>> report.f1, round(report.accuracy, 3)
        (0.0, 0.667)
    """
    if [len(tags) for tags in truth] != [len(tags) for tags in predicted]:
        fail("predicted", "one tag for each true one", "other lengths")
    flat = [tag for tags in truth for tag in tags]
    if not flat:
        fail("truth", "at least one tag", "none")
    guesses = [tag for tags in predicted for tag in tags]
    right = sum(a == b for a, b in zip(flat, guesses, strict=True))
    majority = max(flat.count(tag) for tag in set(flat))
    pairs = [
        (set(find_spans(a)), set(find_spans(b)))
        for a, b in zip(truth, predicted, strict=True)
    ]
    names = sorted({kind for pair in pairs for spans in pair for kind, *_ in spans})
    # Texts, kinds, and of each: found, true, right.
    counts = np.array(
        [
            [
                [sum(kind == name for kind, *_ in spans) for spans in (b, a, a & b)]
                for name in names
            ]
            for a, b in pairs
        ]
    ).reshape(len(pairs), len(names), 3)
    rows = tuple(
        SpanScores(name, *row)
        for name, row in zip(names, counts.sum(axis=0).tolist(), strict=True)
    )
    interval = _f1_interval(counts.sum(axis=1), seed) if names else None
    shares = right / len(flat), majority / len(flat)
    return TaggingReport(len(pairs), len(flat), *shares, rows, interval, seconds)


def _f1_interval(counts: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % limits of F1 over texts drawn again, from their counts `(n, 3)`."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(counts), (_RESAMPLES, len(counts)))
    found, true, right = counts[drawn].sum(axis=1).T
    scores = 2 * right / np.maximum(found + true, 1)
    low, high = np.percentile(scores, (2.5, 97.5))
    return float(low), float(high)


@register_task
@dataclass(frozen=True)
class TaggingTask(Task):
    """One of several tags for each word of a text.

    It trains on a `TextSet` with `WordTags`, or on arrays: targets are `(n, t)`, a
    tag's index at the first piece of each word, and -1 at its later pieces, at start
    and end, and at the padding, which then count nowhere.

    Attributes:
        class_names: Tags in the order of the outputs.
    """

    class_names: tuple[str, ...]

    name: ClassVar[str] = "tagging"
    monitor: ClassVar[str] = "val_token_loss"
    output_name: ClassVar[str] = "tag_logits"
    model_name: ClassVar[str] = "tagger"
    of_tokens: ClassVar[bool] = True
    headline: ClassVar[Mapping[str, str]] = {"f1": "share", "accuracy": "share"}

    def __post_init__(self) -> None:
        """Check the names."""
        if len(set(self.class_names)) < max(2, len(self.class_names)):
            fail("class_names", "two or more different tags", self.class_names)

    @property
    def units(self) -> int:
        """One output a tag."""
        return len(self.class_names)

    @property
    def chance_loss(self) -> float:
        """Log C."""
        return float(np.log(self.units))

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """Cross-entropy over the tokens that are asked."""
        if label_smoothing:
            fail("label_smoothing", "0 for tags", label_smoothing)
        return TokenCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy and cross-entropy over all tokens that are asked."""
        return [TokenAccuracy(name="accuracy"), TokenLoss(name="token_loss")]

    def check(self, targets: np.ndarray) -> None:
        """Raise unless each token has a tag's index, or -1."""
        check_token_targets(targets, self.units)

    def decode(self, outputs: Any) -> np.ndarray:
        """Probabilities in float64."""
        logits = np.asarray(outputs, "float64")
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)

    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> TagPredictions:
        """Probabilities with the tags' names."""
        return TagPredictions(self.class_names, decoded, paths)

    def targets(self, data: Any, name: str = "image_set") -> np.ndarray:
        """The true tags of each text's words: an array of lists of names."""
        if not isinstance(data, TextSet) or not isinstance(data.labels, WordTags):
            hint = "kerastl.load_texts reads CoNLL files."
            fail(name, "texts with a tag for each word", data, hint)
        if not len(data):
            fail(name, "at least one text", "none")
        others = sorted(set(data.class_names) - set(self.class_names))
        if others:
            fail(name, f"of tags {', '.join(self.class_names)}", others)
        return true_tags(data.labels)

    def encoded(
        self, texts: TextSet, encoder: TextEncoder
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The first piece of each word has its tag."""
        return tagged_rows(texts, encoder, self.class_names)

    def of_texts(
        self, texts: TextSet, encoder: TextEncoder, outputs: Callable[[Any], np.ndarray]
    ) -> TaggedTexts:
        """The tag of each word; of a text longer than a row in several rows."""
        return tag_texts(
            texts, encoder, self.class_names, lambda rows: self.decode(outputs(rows))
        )

    @classmethod
    def fits(cls, data: Any) -> bool:
        """Whether words have tags."""
        return isinstance(data.labels, WordTags)

    @classmethod
    def from_set(cls, data: Any) -> "TaggingTask":
        """A task of the set's tags."""
        if not cls.fits(data):
            fail("task", "another one, as no word of the data has a tag", cls.name)
        return cls(data.class_names)

    def report(
        self,
        targets: np.ndarray,
        predictions: TagPredictions | TaggedTexts,
        seconds: float | None = None,
    ) -> TaggingReport:
        """Exact-span F1 with its interval, and the accuracy of tokens."""
        if isinstance(predictions, TaggedTexts):
            return score_tags(list(targets), predictions.tags(), seconds=seconds)
        targets = check_token_targets(targets, self.units)
        asked = targets != IGNORED
        truth = [
            [self.class_names[tag] for tag in row[kept]]
            for row, kept in zip(targets, asked, strict=True)
        ]
        return score_tags(truth, predictions.tags(asked), seconds=seconds)

    def summary(self, scores: Mapping[str, Any]) -> str:
        """Span F1 with its interval, or the accuracy where tags are not BIO."""
        if scores["f1_interval"] is None:
            return f"accuracy {scores['accuracy']:.1%} of tokens"
        low, high = scores["f1_interval"]
        return f"span F1 {scores['f1']:.1%} ({low:.1%} to {high:.1%})"


def build_tagger(
    backbone: str | Path | keras.Model,
    class_names: Sequence[str],
    *,
    hidden: Sequence[int] = (),
    dropout: float = 0.1,
    l2: float = 0.0,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled tagger: frozen text backbone, and a new head for each token.

    Args:
        backbone: A text network of `build_backbone`, a `Backbone` of keras-hub, the
            name of a preset, or a tuned model of texts or its file.
        class_names: Tags, for entities in the scheme BIO: `"O"`, `"B-person"`,
            `"I-person"`.
        hidden: Units of hidden ReLU layers.
        dropout: Share of the features dropped in training, in [0, 1).
        l2: L2 penalty on the head's kernels; at least 0.
        precision: Keras's dtype policy.
        seed: For everything random.
        learning_rate: For a plain `model.fit`.

    Returns:
        A functional `keras.Model` from a dictionary of ids and mask `(n, t)` to float32
        logits `(n, t, tags)`, whose first loss is log C.

    Raises:
        ValueError: If an argument is out of range or does not fit the backbone.

    Example:
        >>> from keras_hub import models  # doctest: +SKIP
        >>> size = dict(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> bert = models.BertBackbone(vocabulary_size=30, **size)  # doctest: +SKIP
        >>> build_tagger(bert, ["O", "B-name", "I-name"]).output_shape  # doctest: +SKIP
        (None, None, 3)
    """
    task = TaggingTask(tuple(class_names))
    check_number("dropout", dropout, 0.0, below=1.0)
    check_number("l2", l2, 0.0)
    for units in hidden:
        check_integer("hidden", units, 1)
    head = partial(attach_head, task.units, hidden, dropout, l2, seed)
    options = {"precision": precision, "learning_rate": learning_rate}
    return build_token_model(backbone, task, head=head, **options)
