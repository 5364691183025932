"""Learning rates: the range test, schedules, rates that differ between blocks."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "HyperRule": "kerastl.training.schedules",
        "OneCycle": "kerastl.training.schedules",
        "RateCurve": "kerastl.training.rate_finder",
        "SlantedTriangular": "kerastl.training.schedules",
        "WarmUp": "kerastl.training.schedules",
        "bit_hyperrule": "kerastl.training.schedules",
        "find_learning_rate": "kerastl.training.rate_finder",
        "layerwise_optimizer": "kerastl.models.optimizers",
        "learning_rates": "kerastl.models.optimizers",
        "relative_gradient_norms": "kerastl.training.gradient_norms",
    },
)
