"""Scores of predictions and their intervals, from arrays."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CalibrationResult": "kerastl.prediction",
        "fit_temperature": "kerastl.evaluation.calibration",
    },
)
