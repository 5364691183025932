"""Scores of predictions and their intervals, from arrays."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CalibrationResult": "kerastl.prediction",
        "PairedComparison": "kerastl.evaluation.metrics",
        "ReliabilityCurve": "kerastl.evaluation.calibration",
        "accuracy": "kerastl.evaluation.metrics",
        "balanced_accuracy": "kerastl.evaluation.metrics",
        "bootstrap": "kerastl.evaluation.metrics",
        "brier": "kerastl.evaluation.metrics",
        "compare_classifiers": "kerastl.evaluation.metrics",
        "expected_calibration_error": "kerastl.evaluation.calibration",
        "f1": "kerastl.evaluation.metrics",
        "fit_temperature": "kerastl.evaluation.calibration",
        "log_loss": "kerastl.evaluation.metrics",
        "per_class_scores": "kerastl.evaluation.metrics",
        "reliability_curve": "kerastl.evaluation.calibration",
        "wilson_interval": "kerastl.evaluation.metrics",
    },
)
