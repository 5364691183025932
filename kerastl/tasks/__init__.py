"""What is asked of a network: its head, loss, scores and report."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "EvaluationReport": "kerastl.tasks.classification",
        "Predictions": "kerastl.prediction",
    },
)
