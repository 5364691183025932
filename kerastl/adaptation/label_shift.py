"""When only the shares of the classes have changed, and whether that is all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_choice, check_integer, fail, warn
from kerastl._tables import Tabular
from kerastl.adaptation.domain_rows import DomainRows, labelled_rows, unlabelled_rows
from kerastl.models.record import fold_prior, read_record
from kerastl.tasks.task import bind_known

METHODS = ("em", "bbse")
#: From here on a classifier tells the domains apart: about 0.5 is a guess.
_TELLS_APART = 0.6
#: Above it the confusions say nearly the same of several classes.
_CONDITION = 1e3
_STEPS, _CHANGE = 10_000, 1e-10
_FOLDS = 5


@dataclass(frozen=True)
class PriorShift(Tabular):
    """Shares of the classes in two domains.

    Attributes:
        class_names: In the order of what follows.
        source: Share of each class among the validation images.
        target: Share of each class among the target images, as estimated.
        method: `"em"` or `"bbse"`.
        images: Number of target images.
        condition: Condition number of the confusion matrix, which `"bbse"` inverts.
        auc: How well a classifier tells the two domains' features apart, 0.5 to 1:
            area under the ROC curve, cross-validated.
        weighted_auc: The same with each source image weighted by how much more
            frequent its class is in the target. Well above 0.5, the images have
            changed too, and the estimate is of nothing.
    """

    class_names: tuple[str, ...]
    source: tuple[float, ...]
    target: tuple[float, ...]
    method: str
    images: int
    condition: float
    auc: float
    weighted_auc: float

    @property
    def unexplained(self) -> bool:
        """Whether these shares do not explain the target.

        Its images have changed too; or the classifier's probabilities are off.
        """
        return self.weighted_auc > _TELLS_APART

    @property
    def weights(self) -> np.ndarray:
        """How many times as frequent each class is in the target `(classes,)`."""
        return np.array(self.target) / np.array(self.source)

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python types, ready for JSON."""
        return {**asdict(self), "unexplained": self.unexplained}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [
            {"class": name, "source": source, "target": target}
            for name, source, target in zip(
                self.class_names, self.source, self.target, strict=True
            )
        ]

    def _heading(self) -> str:
        return str(self).splitlines()[-1]

    def __str__(self) -> str:
        """The shares as a table, and what they are worth."""
        width = max(map(len, (*self.class_names, "class")))
        lines = [f"{'class':<{width}}  source  target"]
        for name, old, new in zip(
            self.class_names, self.source, self.target, strict=True
        ):
            lines.append(f"{name:<{width}}  {old:6.3f}  {new:6.3f}")
        lines.append(
            f"estimated by {self.method} on {self.images} images; the domains are told "
            f"apart with an AUC of {self.auc:.2f}, weighted {self.weighted_auc:.2f}"
        )
        if self.unexplained:
            lines.append("these shares do not explain the target: do not set them")
        return "\n".join(lines)


@dataclass(frozen=True)
class ShiftReport(Tabular):
    """How two domains differ, as far as unlabelled images tell.

    Attributes:
        kind: `"none"`: nothing tells them apart; `"prevalence"`: other shares of the
            same classes explain it; `"images"`: the images themselves have changed.
        auc: How well a classifier tells the domains' features apart, 0.5 to 1.
        weighted_auc: The same with other shares of the classes made up for.
        prior: The shares.
    """

    kind: str
    auc: float
    weighted_auc: float
    prior: PriorShift

    def to_dict(self) -> dict[str, Any]:
        """The result in plain Python types, ready for JSON."""
        return {**asdict(self), "prior": self.prior.to_dict()}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return self.prior.to_rows()

    def _heading(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """What it is, and what to do."""
        told = f"AUC {self.auc:.2f}, with the classes weighted {self.weighted_auc:.2f}"
        return f"{_ADVICE[self.kind]}\n({told})"


_ADVICE = {
    "none": "nothing tells the domains apart: adapt nothing",
    "prevalence": "the shares of the classes explain the difference: set_prior",
    "images": "the images themselves have changed: adapt_statistics, Adaptation('mcc')",
}


def estimate_prior(
    model: keras.Model,
    validation: Any,
    target: Any,
    *,
    method: str = "em",
    batch_size: int = 64,
    seed: int = 0,
) -> PriorShift:
    """How frequent each class is among unlabelled images, by a classifier's answers.

    Right where the images of each class look as before and only their shares changed,
    as a disease is rarer in the street than in the clinic. Where the images changed
    too it is wrong with no sign of it in the shares, and to correct by it costs points:
    so that is tested, and said. Calibrate the model first: `"em"` believes its
    probabilities.

    Args:
        model: Classifier of one class an image.
        validation: Labelled images of the source that were not trained on.
        target: Images; labels that come with them are not looked at.
        method: `"em"`, or `"bbse"`, which takes decisions and their confusions only.
        batch_size: Images at a time.
        seed: For the folds of the test.

    Returns:
        The shares of both domains; `set_prior` corrects by them.

    Raises:
        ValueError: If a class has no validation image, or the confusions of the
            classes are too much alike for `"bbse"`.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 200], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> _ = kerastl.fine_tune(model, (images, labels), recipe="linear_probe")
        >>> mostly_dark = images[[0, 1, 2, 3, 4, 5, 8, 9]]
        >>> shift = estimate_prior(model, (images, labels), mostly_dark, method="bbse")
        >>> [round(share, 2) for share in shift.target]
        [0.75, 0.25]

    Reference:
        Saerens, Latinne & Decaestecker (2002), Adjusting the Outputs of a Classifier
        to New a Priori Probabilities, §2.2 (`em`); Lipton, Wang & Smola (2018),
        Detecting and Correcting for Label Shift with Black Box Predictors,
        arXiv:1802.03916, §3 (`bbse`); Garg et al. (2020), arXiv:2003.07554.
    """
    check_choice("method", method, METHODS)
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    bound = bind_known(model)
    known = labelled_rows(bound, validation, "validation", batch_size)
    new = unlabelled_rows(bound, target, "target", batch_size)
    shift = prior_of_rows(known, new, bound.task.class_names, method=method, seed=seed)
    if shift.unexplained:
        warn(
            "The target's images differ by more than the shares of the classes (AUC "
            f"{shift.weighted_auc:.2f}): the estimated prior means nothing."
        )
    return shift


def shift_report(
    model: keras.Model,
    validation: Any,
    target: Any,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> ShiftReport:
    """Whether the target differs in the shares of its classes, or in its images.

    A classifier is to tell the features of the two domains apart. If it can, and no
    longer can once each source image counts as its class does in the target, the
    shares of the classes are all that changed.

    Args:
        model: Classifier of one class an image.
        validation: Labelled images of the source that were not trained on, some
            twenty of each class at least.
        target: Images; labels that come with them are not looked at.
        batch_size: Images at a time.
        seed: For the folds of the test.

    Returns:
        The kind of shift, and the figures that it follows from.

    Raises:
        ValueError: If a class has no validation image, or there are too few images.

    Example:
        >>> prior = PriorShift(("a",), (1.0,), (1.0,), "em", 9, 1.0, 0.8, 0.5)
        >>> print(ShiftReport("prevalence", 0.8, 0.5, prior))
        the shares of the classes explain the difference: set_prior
        (AUC 0.80, with the classes weighted 0.50)

    Reference:
        Rabanser, Günnemann & Lipton (2019), Failing Loudly, arXiv:1810.11953, §3.2
        (domain classifier).
    """
    check_integer("batch_size", batch_size, 1)
    check_integer("seed", seed, 0)
    bound = bind_known(model)
    known = labelled_rows(bound, validation, "validation", batch_size)
    new = unlabelled_rows(bound, target, "target", batch_size)
    prior = prior_of_rows(known, new, bound.task.class_names, method="em", seed=seed)
    kind = "images" if prior.unexplained else "prevalence"
    if prior.auc <= _TELLS_APART:
        kind = "none"
    return ShiftReport(kind, prior.auc, prior.weighted_auc, prior)


def prior_of_rows(
    known: DomainRows,
    new: DomainRows,
    class_names: Sequence[str],
    *,
    method: str,
    seed: int,
) -> PriorShift:
    """`estimate_prior` from rows that are at hand."""
    count = len(class_names)
    found = np.bincount(known.labels, minlength=count)
    missing = [class_names[i] for i in np.flatnonzero(found == 0)]
    if missing:
        expected = "with images of every class of the model"
        fail("validation", expected, f"none of {', '.join(missing[:5])}")
    prior = found / found.sum()
    confusion = np.zeros((count, count))
    np.add.at(confusion, (known.predicted, known.labels), 1.0)
    confusion /= len(known.labels)
    condition = float(np.linalg.cond(confusion))
    if method == "em":
        shares = saerens(new.probabilities, prior)
    else:
        predicted = np.bincount(new.predicted, minlength=count) / len(new.predicted)
        shares = black_box(confusion, predicted, prior, condition)
    weights = (shares / prior)[known.labels]
    plain = domain_auc(known.features, new.features, seed=seed)
    weighted = domain_auc(known.features, new.features, weights, seed=seed)
    return PriorShift(
        tuple(class_names),
        tuple(map(float, prior)),
        tuple(map(float, shares)),
        method,
        len(new.features),
        condition,
        plain,
        weighted,
    )


def saerens(probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The shares of the classes under which the answers are likeliest, by EM.

    Args:
        probabilities: Of a classifier that is right about `prior`, `(n, classes)`.
        prior: Shares where it learnt, all above 0.

    Returns:
        Shares `(classes,)` of sum 1. Each step's likelihood is at least the last's.
    """
    shares = np.asarray(prior, np.float64)
    ratios = np.asarray(probabilities, np.float64) / shares
    for _ in range(_STEPS):
        shown = ratios * shares
        shown /= np.maximum(shown.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        made = shown.mean(axis=0)
        near = np.abs(made - shares).max() < _CHANGE
        shares = made / made.sum()
        if near:
            break
    return shares


def black_box(
    confusion: np.ndarray, predicted: np.ndarray, prior: np.ndarray, condition: float
) -> np.ndarray:
    """The shares under which the known confusions give the predicted ones.

    Args:
        confusion: `P(predicted i, is j)` in the source.
        predicted: `P(predicted i)` in the target.
        prior: `P(is j)` in the source.
        condition: Of the confusions.
    """
    from scipy.optimize import nnls

    if not condition <= _CONDITION:
        hint = "Take method='em', or a classifier that tells the classes apart."
        expected = f"'em' where the confusions' condition is above {_CONDITION:g}"
        fail("method", expected, f"bbse, at {condition:.3g}", hint)
    weights, _ = nnls(confusion, predicted)
    shares = weights * prior
    return shares / shares.sum()


def domain_auc(
    source: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> float:
    """How well features say which domain a row is of: 0.5 is a guess, 1 certainty.

    The mean over folds of the area under the ROC curve of a logistic regression on the
    other folds.

    Args:
        source: `(n, d)`, at least five rows.
        target: `(m, d)`, at least five rows.
        weights: How much each source row counts `(n,)`; None: all alike.
        seed: For the folds.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    from kerastl.features.classical import classical_head

    for name, rows in (("validation", source), ("target", target)):
        if len(rows) < _FOLDS:
            fail(name, f"at least {_FOLDS} images", len(rows))
    rows = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    counts = np.ones(len(rows))
    if weights is not None:
        counts[: len(source)] = weights
    # Classes that are not in the target count nothing; neither domain counts more.
    counts[domain == 0] *= len(target) / max(counts[domain == 0].sum(), 1e-12)
    folds, found = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed), []
    for learnt, judged in folds.split(rows, domain):
        there = counts[judged] > 0
        if len(np.unique(domain[judged][there])) < 2:
            continue
        head = classical_head("logistic", seed=seed)
        given = {"classifier__sample_weight": counts[learnt]}
        head.fit(rows[learnt], domain[learnt], **given)
        scores = head.decision_function(rows[judged])
        area = roc_auc_score(domain[judged], scores, sample_weight=counts[judged])
        found.append(float(area))
    return float(np.mean(found)) if found else 0.5


def set_prior(
    model: keras.Model, prior: PriorShift | Mapping[str, float] | ArrayLike | None
) -> None:
    """Make a classifier's answers right for other shares of its classes.

    Each logit gets `ln(target share / source share)`, in the bias of the head: the
    probabilities become `p(class | image) * target / source`, summed to 1, exactly.
    It is in the `.keras` file, and gone again with `set_prior(model, None)`; training
    takes it back with a warning.

    Args:
        model: Classifier of one class an image, calibrated before if at all.
        prior: What `estimate_prior` found; or, where you know better, how many times
            as frequent each class is, by name or in the model's order; None takes back
            what was set.

    Raises:
        ValueError: If the images changed too, numbers do not fit the classes, or the
            head has no bias.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["ill", "well"])
        >>> set_prior(model, {"ill": 0.2, "well": 1.8})
        >>> image = np.full((50, 80, 3), 128, "uint8")
        >>> kerastl.predict(model, image).probabilities.round(3).tolist()
        [[0.1, 0.9]]

    Reference:
        Saerens, Latinne & Decaestecker (2002), eq. 2.4.
    """
    bound = bind_known(model)
    if prior is None:
        fold_prior(model, None)
        return
    names = read_record(model).class_names
    if bound.task is None or not bound.task.single_class:
        fail("model", "a classifier of one class an image", bound.task.name)
    if isinstance(prior, PriorShift):
        if prior.class_names != names:
            fail("prior", f"of the classes {', '.join(names[:12])}", prior.class_names)
        if prior.unexplained:
            hint = "Adapt to the images; or pass prior.weights if you know better."
            expected = "of a target whose images look as before"
            fail("prior", expected, f"AUC {prior.weighted_auc:.2f}", hint)
        ratio = prior.weights
    elif isinstance(prior, Mapping):
        if set(prior) != set(names):
            fail("prior", f"given for {', '.join(names[:12])}", sorted(prior))
        ratio = np.array([float(prior[name]) for name in names])
    else:
        ratio = np.asarray(prior, np.float64)
    if ratio.shape != (len(names),) or not (np.isfinite(ratio) & (ratio >= 0)).all():
        expected = f"{len(names)} finite numbers of at least 0"
        fail("prior", expected, np.asarray(ratio).tolist())
    if not ratio.any():
        fail("prior", "above 0 for a class", ratio.tolist())
    # A class of no share at all: as good as never, and still finite.
    logs = np.log(np.maximum(ratio, 1e-6))
    fold_prior(model, logs if bound.task.units > 1 else logs[1:] - logs[:1])
