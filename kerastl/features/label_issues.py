"""Labels that look wrong: what the other images say of each, from cached features."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl._files import whole_file
from kerastl._tables import Tabular
from kerastl.data.inputs import training_images
from kerastl.data.sets import Examples
from kerastl.evaluation.calibration import least_loss
from kerastl.features.files import extract
from kerastl.features.network import feature_network, open_backbone
from kerastl.features.probe import as_features, loo_ridge
from kerastl.models.blocks import blocks, cut_points
from kerastl.models.layers import feature_columns
from kerastl.models.text_layers import find_tokens

_SHOWN = 10
#: What outputs of 0 and 1 are multiplied by where no image is wrong: e^10 to 1.
_CERTAIN = 10.0
#: Depths at which features are taken.
_DEPTHS = 6


@dataclass(frozen=True)
class LabelIssue:
    """One image whose label looks wrong.

    Attributes:
        place: Its index among the images that were given.
        path: Its file; None of arrays.
        given: Name of its label.
        suggested: The class that the other images make most probable.
        confidence: Probability of the given label, 0 to 1.
        margin: Logarithm of that probability over the largest of the others: the
            lower, the more suspect.
    """

    place: int
    path: str | None
    given: str
    suggested: str
    confidence: float
    margin: float


@dataclass(frozen=True, eq=False)
class LabelIssues(Tabular):
    """Images whose labels look wrong, the most suspect first.

    Attributes:
        issues: Those to look at.
        ranking: Indices of all images, the most suspect first `(n,)`.
        margins: Of all images, in the order they were given `(n,)`.
        probabilities: What the other images say of each `(n, classes)`.
        class_names: Names of the columns.
        images: Number of images.
        accuracy: Share whose label the others would give.
        left_out: Images of classes with no second image, which nothing can judge.
    """

    issues: tuple[LabelIssue, ...]
    ranking: np.ndarray
    margins: np.ndarray
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    images: int
    accuracy: float
    left_out: int = 0

    def __len__(self) -> int:
        """Number of suspect labels."""
        return len(self.issues)

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a suspect."""
        return [dict(vars(issue)) for issue in self.issues]

    def to_dict(self) -> dict[str, Any]:
        """What was found, in plain Python types, ready for JSON."""
        plain = {"images": self.images, "accuracy": self.accuracy}
        return {**plain, "left_out": self.left_out, "issues": self.to_rows()}

    def to_csv(self, path: str | Path) -> None:
        """Write the suspects as a table.

        Args:
            path: A .csv file; replaced if it exists.
        """
        text = io.StringIO()
        names = list(LabelIssue.__dataclass_fields__)
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.to_rows())
        with whole_file(Path(path)) as draft:
            draft.write_text(text.getvalue(), encoding="utf-8")

    def __str__(self) -> str:
        """The most suspect ones, one a line."""
        lines = [
            f"{len(self)} of {self.images} labels look wrong; "
            f"the other images would give {100 * self.accuracy:.1f} % of the labels"
        ]
        for issue in self.issues[:_SHOWN]:
            place = f"image {issue.place}" if issue.path is None else issue.path
            lines.append(
                f"  {place}: {issue.given}, perhaps {issue.suggested} "
                f"(margin {issue.margin:+.2f})"
            )
        if len(self) > _SHOWN:
            lines.append(f"  and {len(self) - _SHOWN} more")
        if self.left_out:
            lines.append(f"{self.left_out} images are alone in their class")
        return "\n".join(lines)


def find_label_issues(
    data: Any,
    labels: ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    backbone: str | keras.Model = "MobileNet",
    alpha: float | None = None,
    weights: str | Path | None = "tiny",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    batch_size: int = 64,
) -> LabelIssues:
    """Images whose labels look wrong, by what the other images say of each.

    A linear probe on features of a frozen network, taken at several depths and fitted
    to all other images, says how probable each label is; it is one closed form for all
    images, so nothing is trained. Look at what is listed before changing it: rare but
    right images are listed too. Where the network was trained on these very labels it
    has learnt the wrong ones by heart: take one that has not seen them.

    Args:
        data: Images with one label each, as `transfer` takes them (the training part);
            or their features `(n, d)`, beside `labels`.
        labels: Class of each row of features `(n,)`, whole numbers; else None.
        class_names: Names of the classes of `labels`; None: their numbers.
        backbone: What computes the features: a name, a network, or a tuned model, whose
            head is left out.
        alpha: Its width, for a name.
        weights: Its weights, for a name: `"imagenet"` finds more than the bundled ones.
        image_size: Pixels; None: the backbone's.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time.

    Returns:
        `LabelIssues`: print it, or take `.to_csv(path)`.

    Raises:
        ValueError: If the images have no label or several, or features and labels do
            not fit.

    Example:
        >>> rows = np.repeat([[0.0], [9.0]], 10, axis=0) + np.arange(20)[:, None] / 20
        >>> labels = np.repeat([0, 1], 10)
        >>> labels[3] = 1
        >>> found = find_label_issues(rows, labels, class_names=("cat", "dog"))
        >>> [(issue.place, issue.given, issue.suggested) for issue in found.issues]
        [(3, 'dog', 'cat')]

    Reference:
        Northcutt, Jiang & Chuang (2021), Confident Learning, arXiv:1911.00068,
        section 3.1 (per-class thresholds); the probabilities are those of `loo_ridge`.
    """
    check_integer("batch_size", batch_size, 1)
    if labels is None:
        part = training_images(data)
        size = {"alpha": alpha, "image_size": image_size}
        opened = open_backbone(backbone, weights=weights, **size)
        rows = features_at_depths(opened, part, resize=resize, batch_size=batch_size)
        codes, names = part.labels, part.class_names
        paths = getattr(part, "paths", None)
    else:
        rows, codes, paths = np.asarray(data), np.asarray(labels), None
        names = _names(codes, class_names)
    return _suspects(rows, codes, tuple(names), paths)


def features_at_depths(
    network: keras.Model, part: Examples, *, resize: str, batch_size: int
) -> np.ndarray:
    """Features at several depths, side by side, each as large as the others `(n, d)`.

    What tells classes apart often lies below the top, which knows objects.
    """
    joined = _at_depths(network)
    made = extract(joined, part, resize=resize, batch_size=batch_size)
    return _balanced(made.features, feature_columns(joined).widths)


def _at_depths(network: keras.Model) -> keras.Model:
    """The ends of blocks from the first quarter to the top; of texts the top."""
    if find_tokens(network) is not None:
        return feature_network(network)
    layers = {layer.name: layer for layer in network.layers}
    legal = {
        name
        for name in cut_points(network)
        if name in layers and len(layers[name].output.shape) == 4
    }
    inside = ([n for n in names if n in legal] for names in blocks(network).values())
    ends = [names[-1] for names in inside if names]
    if not ends:
        return feature_network(network)
    places = np.linspace(len(ends) // 4, len(ends) - 1, min(_DEPTHS, len(ends)))
    chosen = sorted(set(places.astype(int).tolist()))
    return feature_network(network, at=[ends[place] for place in chosen])


def _balanced(rows: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Features of each depth with the same mean square, so that none drowns another."""
    parts = np.split(rows.astype(np.float64), np.cumsum(widths)[:-1], axis=1)
    centred = [part - part.mean(axis=0) for part in parts]
    sizes = [np.sqrt(np.square(part).sum(axis=1).mean()) for part in centred]
    kept = [part / size for part, size in zip(centred, sizes, strict=True) if size > 0]
    return np.concatenate(kept, axis=1) if kept else rows


def _names(codes: np.ndarray, given: Sequence[str] | None) -> tuple[str, ...]:
    """A name for each number up to the largest."""
    whole = codes.ndim == 1 and codes.dtype.kind in "iu" and codes.size
    if not whole or codes.min() < 0:
        fail("labels", "class indices of shape (n,)", f"{codes.dtype} {codes.shape}")
    count = int(codes.max()) + 1
    names = [str(n) for n in range(count)] if given is None else list(given)
    if len(names) < count:
        fail("class_names", f"at least {count} names", f"{len(names)} names")
    return tuple(map(str, names))


def _suspects(
    rows: np.ndarray,
    codes: np.ndarray,
    names: tuple[str, ...],
    paths: Sequence[str] | None,
) -> LabelIssues:
    """The report on features and labels."""
    counts = np.bincount(codes, minlength=len(names))
    kept = np.flatnonzero(counts[codes] > 1)
    known = np.flatnonzero(counts > 1)
    data = as_features(rows[kept], np.searchsorted(known, codes[kept]), per_class=2)
    own = np.arange(len(kept))
    found = _probabilities(data.rows, data.codes)
    flagged = confident_issues(data.codes, found)
    given = found[own, data.codes]
    others = found.copy()
    others[own, data.codes] = -1.0
    # Of logarithms: a difference of probabilities is flat where none of them is large.
    margins = np.log(given) - np.log(others.max(axis=1))
    order = np.argsort(margins, kind="stable")
    full = np.zeros((len(codes), len(names)))
    full[np.ix_(kept, known)] = found
    every = np.full(len(codes), np.inf)
    every[kept] = margins
    issues = tuple(
        LabelIssue(
            place=int(kept[i]),
            path=paths[kept[i]] if paths else None,
            given=names[codes[kept[i]]],
            suggested=names[known[others[i].argmax()]],
            confidence=float(given[i]),
            margin=float(margins[i]),
        )
        for i in order
        if flagged[i]
    )
    return LabelIssues(
        issues=issues,
        ranking=np.argsort(every, kind="stable"),
        margins=every,
        probabilities=full,
        class_names=names,
        images=len(codes),
        accuracy=float((found.argmax(axis=1) == data.codes).mean()),
        left_out=len(codes) - len(kept),
    )


def _probabilities(rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Of each class, what a probe on the other images says `(n, classes)`."""
    from scipy.special import softmax

    decisions = loo_ridge(rows, codes).decisions
    gaps = decisions - decisions[np.arange(len(codes)), codes][:, None]
    factor = 1.0
    if gaps.max() <= 0:
        # All of them are right: no certainty is too much, and the widest gap is sure.
        factor = _CERTAIN
    elif gaps.mean() < 0:
        factor = least_loss(gaps)
    return softmax(factor * decisions, axis=1)


def confident_issues(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Which labels `(n,)` confident learning takes for wrong.

    A class is claimed with confidence where its probability reaches the mean that it
    has on images of that label; of several such classes the most probable counts. An
    image is suspect where that is another class than its label.

    Args:
        codes: Class indices `(n,)`, each class with an image.
        probabilities: Out of sample, `(n, classes)`.
    """
    labels = np.arange(probabilities.shape[1])
    limits = np.array([probabilities[codes == c, c].mean() for c in labels])
    confident = probabilities >= limits - 1e-12
    claimed = np.where(confident, probabilities, -1.0).argmax(axis=1)
    return confident.any(axis=1) & (claimed != codes)
