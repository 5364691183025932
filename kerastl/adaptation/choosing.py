"""Comparing adapted models without a label of the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, fail
from kerastl._tables import Tabular
from kerastl.adaptation.domain_rows import DomainRows, labelled_rows, unlabelled_rows
from kerastl.evaluation.metrics import as_probabilities, wilson_interval
from kerastl.features.classical import classical_head
from kerastl.tasks.task import bind_known

#: Points of source accuracy that a candidate may lose.
_MAY_LOSE = 0.05
CRITERIA = ("mutual_information", "circular")


@dataclass(frozen=True, eq=False)
class Candidate:
    """What one way of adapting makes of both domains, where it is no Keras model.

    Attributes:
        source_probabilities: Of labelled source images not learnt from, `(n, classes)`.
        target_probabilities: Of the target's images `(m, classes)`.
        source_features: `(n, d)`, where the candidate has the source's; None: circular
            validation is left out.
        target_features: `(m, d)`; None likewise.
    """

    source_probabilities: ArrayLike
    target_probabilities: ArrayLike
    source_features: ArrayLike | None = None
    target_features: ArrayLike | None = None


@dataclass(frozen=True)
class TargetScore:
    """What can be said of one candidate.

    Attributes:
        name: Its name.
        source_accuracy: On labelled source images, 0 to 1.
        mutual_information: Of image and answer on the target, 0 to the logarithm of
            the number of classes: sure of each image, and undecided over all.
        circular: Accuracy, on the source, of a classifier that learnt the candidate's
            answers to the target; None where it has no features.
        predicted: Target images of each class, by its answers.
        left_out: Why it is not to be taken; empty if it may be.
        labelled_accuracy: Of labelled target images, or None.
        labelled_interval: Its 95 % interval, or None.
    """

    name: str
    source_accuracy: float
    mutual_information: float
    circular: float | None
    predicted: tuple[int, ...]
    left_out: str = ""
    labelled_accuracy: float | None = None
    labelled_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Choice:
    """The candidate to take, and why.

    Attributes:
        name: Its name.
        reason: One sentence.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class TargetScores(Tabular):
    """Candidates scored without target labels, in the order given.

    Attributes:
        rows: One row a candidate; the first is what the others are held against.
        class_names: Of the counts.
        labelled: Number of labelled target images; 0 without.
    """

    rows: tuple[TargetScore, ...]
    class_names: tuple[str, ...]
    labelled: int = 0

    def choose(self, by: str = "mutual_information") -> Choice:
        """The candidate to take; the first where no other may be trusted.

        Left out are those that lose more than five points of source accuracy against
        the first, and those that never answer a class which the first answers: what
        collapses looks sure of itself. With labelled target images their accuracy
        decides. No rule without labels finds the best each time.

        Args:
            by: `"mutual_information"` or `"circular"`.
        """
        check_choice("by", by, CRITERIA)
        first = self.rows[0]
        free = [row for row in self.rows if not row.left_out] or [first]
        if self.labelled:
            best = max(free, key=lambda row: row.labelled_accuracy)
            low, high = best.labelled_interval
            reason = (
                f"the most right on {self.labelled} labelled target images: "
                f"{best.labelled_accuracy:.1%} ({low:.1%} to {high:.1%})"
            )
            return Choice(best.name, reason)
        if by == "circular":
            free = [row for row in free if row.circular is not None] or [first]
        best = max(free, key=lambda row: getattr(row, by) or 0.0)
        words = by.replace("_", " ")
        count = len(free)
        reason = f"the highest {words} of {count} candidates that may be trusted"
        if count == 1:
            reason = "no other candidate may be trusted"
        return Choice(best.name, reason)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a candidate."""
        return [dict(vars(row)) for row in self.rows]

    def _heading(self) -> str:
        return str(self).splitlines()[-1]

    def __str__(self) -> str:
        """A table."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'':<{width}}  source     MI  circular  predicted"]
        for row in self.rows:
            circular = "" if row.circular is None else f"{row.circular:.1%}"
            counts = " ".join(map(str, row.predicted))
            told = f"  left out: {row.left_out}" if row.left_out else ""
            lines.append(
                f"{row.name:<{width}}  {row.source_accuracy:6.1%}  "
                f"{row.mutual_information:5.3f}  {circular:>8}  {counts}{told}"
            )
        chosen = self.choose()
        return "\n".join([*lines, f"{chosen.name}: {chosen.reason}"])


def target_scores(
    candidates: Mapping[str, keras.Model | Candidate],
    source: Any,
    target: Any = None,
    *,
    labelled: tuple[ArrayLike, ArrayLike] | None = None,
    batch_size: int = 64,
) -> TargetScores:
    """Scores of adapted models that need no target label, and what they advise.

    The first candidate should be the model as it came: the others are held against it.
    No score is honest alone. A model that gives one answer to everything is as sure as
    can be, so its sureness (entropy) and the density of its features say nothing; hence
    the guards. Fifty labelled target images say more than any of them.

    Args:
        candidates: Name to model, or to `Candidate`.
        source: Labelled source images that none learnt from; for `Candidate`s their
            labels `(n,)`.
        target: The target's images; not needed for `Candidate`s.
        labelled: Places of some target images, and their classes, if some are known.
        batch_size: Images at a time.

    Returns:
        The scores; `.choose()` names one, with its reason.

    Raises:
        ValueError: If there is no candidate, or rows do not fit.

    Example:
        >>> sure = [[0.9, 0.1], [0.1, 0.9]]
        >>> mute = [[1.0, 0.0], [1.0, 0.0]]
        >>> scores = target_scores(
        ...     {"as it came": Candidate(sure, sure), "mute": Candidate(mute, mute)},
        ...     [0, 1],
        ... )
        >>> scores.choose().name
        'as it came'

    Reference:
        Musgrave, Belongie & Lim (2022), Three New Validators and a Large-Scale
        Benchmark Ranking for Unsupervised Domain Adaptation, arXiv:2208.07360; Bruzzone
        & Marconcini (2010), Domain Adaptation Problems: A DASVM Classification
        Technique and a Circular Validation Strategy, §3.
    """
    check_integer("batch_size", batch_size, 1)
    if not isinstance(candidates, Mapping) or not candidates:
        fail("candidates", "a dictionary of at least one name and model", candidates)
    rows, names = [], ()
    for name, candidate in candidates.items():
        if isinstance(candidate, Candidate):
            both = _rows_of(candidate, source)
        elif target is None:
            fail("target", "given, for the models to see", None)
        else:
            bound = bind_known(candidate)
            names = names or bound.task.class_names
            both = (
                labelled_rows(bound, source, "source", batch_size),
                unlabelled_rows(bound, target, "target", batch_size),
            )
        first = rows[0] if rows else None
        rows.append(_score(name, *both, first, labelled))
    names = names or tuple(map(str, range(len(rows[0].predicted))))
    count = 0 if labelled is None else len(np.asarray(labelled[0]))
    return TargetScores(tuple(rows), tuple(names), count)


def _rows_of(candidate: Candidate, labels: Any) -> tuple[DomainRows, DomainRows]:
    """A candidate of arrays as rows."""
    labels = np.asarray(labels)
    labels, known = as_probabilities(labels, candidate.source_probabilities)
    _, new = as_probabilities(
        np.zeros(len(candidate.target_probabilities), int),
        candidate.target_probabilities,
    )
    features = candidate.source_features, candidate.target_features
    if any(rows is None for rows in features):
        features = None, None
    return DomainRows(features[0], known, labels), DomainRows(features[1], new)


def _score(
    name: str,
    known: DomainRows,
    new: DomainRows,
    first: TargetScore | None,
    labelled: tuple[ArrayLike, ArrayLike] | None,
) -> TargetScore:
    """One candidate's row."""
    classes = known.probabilities.shape[1]
    accuracy = float((known.predicted == known.labels).mean())
    predicted = tuple(map(int, np.bincount(new.predicted, minlength=classes)))
    left_out = ""
    if first is not None:
        lost = first.source_accuracy - accuracy
        asked = zip(predicted, first.predicted, strict=True)
        silent = sum(not mine and bool(theirs) for mine, theirs in asked)
        if lost > _MAY_LOSE:
            left_out = f"loses {100 * lost:.1f} points on the source"
        elif silent:
            left_out = f"never answers {silent} of the classes"
    found: dict[str, Any] = {}
    if labelled is not None:
        places, truth = (np.asarray(given, np.int64) for given in labelled)
        right = int((new.predicted[places] == truth).sum())
        found["labelled_accuracy"] = right / len(truth)
        found["labelled_interval"] = wilson_interval(right, len(truth))
    information = mutual_information(new.probabilities)
    circular = circular_accuracy(known, new)
    return TargetScore(
        name, accuracy, information, circular, predicted, left_out, **found
    )


def mutual_information(probabilities: ArrayLike) -> float:
    """Entropy of the mean answer less the mean entropy of the answers, in nats.

    0 where every image gets the same answer; the logarithm of the number of classes
    where each is certain and the classes are as frequent.

    Args:
        probabilities: `(n, classes)`.

    Example:
        >>> mutual_information([[0.5, 0.5], [0.5, 0.5]])
        0.0
    """
    rows = np.asarray(probabilities, np.float64)
    gain = _entropy(rows.mean(axis=0)) - _entropy(rows).mean()
    return float(max(gain, 0.0))


def _entropy(shares: np.ndarray) -> np.ndarray:
    from scipy.special import xlogy

    return -xlogy(shares, shares).sum(axis=-1)


def circular_accuracy(known: DomainRows, new: DomainRows) -> float | None:
    """Accuracy on the source of what learnt the answers to the target.

    Of one answer to everything nothing is learnt: 1 over the number of classes.
    """
    if known.features is None:
        return None
    answers = new.predicted
    if len(np.unique(answers)) < 2:
        return 1.0 / known.probabilities.shape[1]
    head = classical_head("ridge").fit(new.features, answers)
    return float((head.predict(known.features) == known.labels).mean())
