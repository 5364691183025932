"""Where a classifier fails: accuracy by groups of images, the worst first."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, check_number, fail
from kerastl._tables import Tabular
from kerastl.evaluation.metrics import wilson_interval

_SHOWN = 10


@dataclass(frozen=True)
class Slice:
    """One group of images.

    Attributes:
        by: What the images are grouped by.
        value: The group's name, or its limits.
        images: How many it has.
        accuracy: Share of them that is right.
        interval: Its Wilson limits.
        rest: Accuracy of the images outside.
        p_value: Chance of a difference as large if the group were drawn at random,
            corrected for the number of groups; None of groups too small to tell.
    """

    by: str
    value: str
    images: int
    accuracy: float
    interval: tuple[float, float]
    rest: float
    p_value: float | None


@dataclass(frozen=True)
class SliceReport(Tabular):
    """Groups of images, those of the lowest accuracy first, small ones at the end.

    Attributes:
        slices: One a group.
        accuracy: Of all images.
        images: Number of all images.
        level: Below it a corrected p-value counts as a finding.
    """

    slices: tuple[Slice, ...]
    accuracy: float
    images: int
    level: float

    @property
    def found(self) -> tuple[Slice, ...]:
        """Groups that are worse than the rest by more than chance."""
        return tuple(
            each
            for each in self.slices
            if each.p_value is not None
            and each.p_value < self.level
            and each.accuracy < each.rest
        )

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        rows = [asdict(each) for each in self.slices]
        plain = {"accuracy": self.accuracy, "images": self.images}
        found = [[each.by, each.value] for each in self.found]
        return {**plain, "level": self.level, "slices": rows, "found": found}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [asdict(each) for each in self.slices]

    def _heading(self) -> str:
        return str(self).splitlines()[-1]

    def __str__(self) -> str:
        """One line a group, the worst ten."""
        lines = [f"{self.images} images, accuracy {100 * self.accuracy:.1f} %"]
        names = [f"{each.by} {each.value}" for each in self.slices[:_SHOWN]]
        width = max(map(len, names), default=0)
        for name, each in zip(names, self.slices, strict=False):
            low, high = (100 * limit for limit in each.interval)
            p = "too few to tell"
            if each.p_value is not None:
                p = f"p {each.p_value:.2g}"
            lines.append(
                f"{name:<{width}}  {100 * each.accuracy:5.1f} % "
                f"({low:.1f} to {high:.1f})  {each.images:>5} images  {p}"
            )
        if len(self.slices) > _SHOWN:
            lines.append(f"and {len(self.slices) - _SHOWN} more")
        said = "no group is worse than the rest by more than chance"
        if self.found:
            listed = ", ".join(f"{each.by} {each.value}" for each in self.found)
            said = f"worse than the rest: {listed}"
        return "\n".join([*lines, said])


def slice_report(
    labels: ArrayLike,
    predicted: ArrayLike,
    slices: Mapping[str, ArrayLike],
    *,
    smallest: int = 20,
    bins: int = 4,
    level: float = 0.05,
) -> SliceReport:
    """Accuracy of groups of images, the worst first, and which are no chance.

    Each group is compared with all other images by Fisher's exact test; the p-values
    are corrected for the number of groups by Holm's method, so that random groups are
    flagged in at most `level` of reports.

    Args:
        labels: Class indices `(n,)`, or 0/1 labels `(n, classes)`.
        predicted: Decisions, the same shape.
        slices: What to group by: a name (`"hospital"`), and a value for each image
            `(n,)`: texts or booleans, or numbers, of which equally large groups are
            made.
        smallest: Groups with fewer images are listed at the end, and not tested.
        bins: Groups of numbers, at least 2.
        level: What p-values must stay below, above 0 and below 1.

    Returns:
        A `SliceReport`.

    Raises:
        ValueError: If the arrays do not fit.

    Example:
        >>> right = [1] * 30 + [0] * 30
        >>> report = slice_report([1] * 60, right, {"camera": ["a"] * 30 + ["b"] * 30})
        >>> report.found[0].value, report.found[0].accuracy
        ('b', 0.0)

    Reference:
        Holm (1979), Scandinavian Journal of Statistics 6(2).
    """
    check_integer("smallest", smallest, 1)
    check_integer("bins", bins, 2)
    check_number("level", level, above=0.0, below=1.0)
    truth, given = np.asarray(labels), np.asarray(predicted)
    if truth.shape != given.shape or not truth.size:
        fail("predicted", f"of shape {truth.shape}, as the labels", given.shape)
    right = (truth == given).reshape(len(truth), -1).all(axis=1)
    groups = [
        (by, *group)
        for by, values in slices.items()
        for group in _groups(by, np.asarray(values), len(right), bins)
        # All images are no group.
        if not group[1].all()
    ]
    rows = [_row(right, *group) for group in groups]
    tested = [place for place, row in enumerate(rows) if row.images >= smallest]
    raw = [_fisher(right, groups[place][2]) for place in tested]
    corrected = dict(zip(tested, _holm(raw), strict=True))
    made = [
        Slice(**{**vars(row), "p_value": corrected.get(place)})
        for place, row in enumerate(rows)
    ]
    made.sort(key=lambda each: (each.p_value is None, each.accuracy))
    return SliceReport(tuple(made), float(right.mean()), len(right), float(level))


def _groups(
    by: str, values: np.ndarray, total: int, bins: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and members of each group."""
    if values.shape != (total,):
        fail("slices", f"of one value an image, {total} of {by!r}", values.shape)
    if values.dtype.kind == "f" or (
        values.dtype.kind in "iu" and len(np.unique(values)) > 2 * bins
    ):
        numbers = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            fail("slices", f"finite numbers of {by!r}", "nan or inf")
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)))
        place = np.searchsorted(edges[1:-1], numbers, side="left")
        for group in range(len(edges) - 1):
            members = place == group
            if members.any():
                low, high = numbers[members].min(), numbers[members].max()
                yield f"{low:.4g} to {high:.4g}", members
        return
    for value in sorted(set(values.tolist()), key=str):
        yield str(value), values == value


def _row(right: np.ndarray, by: str, value: str, members: np.ndarray) -> Slice:
    images = int(members.sum())
    successes = int(right[members].sum())
    limits = wilson_interval(successes, images)
    rest = float(right[~members].mean())
    return Slice(by, value, images, successes / images, limits, rest, None)


def _fisher(right: np.ndarray, members: np.ndarray) -> float:
    """Two-sided p-value of a group against the rest."""
    from scipy.stats import fisher_exact

    table = [
        [int((right & m).sum()), int((~right & m).sum())] for m in (members, ~members)
    ]
    return float(fisher_exact(table).pvalue)


def _holm(p_values: list[float]) -> list[float]:
    """P-values corrected for how many they are, in their order."""
    order, found, largest = np.argsort(p_values, kind="stable"), list(p_values), 0.0
    for rank, place in enumerate(order):
        scaled = min(1.0, (len(p_values) - rank) * p_values[place])
        # A smaller p-value is never corrected to a larger one than the next.
        largest = max(largest, scaled)
        found[place] = largest
    return found
