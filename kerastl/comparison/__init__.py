"""Comparing models: before and after fine-tuning, and two on the same images."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "FeatureDrift": "kerastl.comparison.drift",
        "ForgettingReport": "kerastl.comparison.drift",
        "ModelComparison": "kerastl.comparison.paired",
        "compare": "kerastl.comparison.paired",
        "feature_drift": "kerastl.comparison.drift",
        "forgetting_report": "kerastl.comparison.drift",
        "linear_cka": "kerastl.comparison.drift",
    },
)
