"""The transferability scores that take features and labels, by name."""

from collections.abc import Callable

from kerastl.selection.evidence import logme
from kerastl.selection.expected_prediction import nleep
from kerastl.selection.neighbours import knn_score
from kerastl.selection.ridge import linear_probe_score
from kerastl.selection.separability import gbc, h_score

# Higher is better for each; the most honest one first.
SCORES: dict[str, Callable[..., float]] = {
    "linear_probe": linear_probe_score,
    "knn": knn_score,
    "logme": logme,
    "h_score": h_score,
    "gbc": gbc,
    "nleep": nleep,
}
