"""Averages of the weights of several models: interpolation and soups."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ModelSoup": "kerastl.training.averaging",
        "WeightInterpolation": "kerastl.training.averaging",
        "greedy_soup": "kerastl.training.averaging",
        "interpolate_weights": "kerastl.training.averaging",
        "recompute_batchnorm": "kerastl.training.batch_statistics",
        "uniform_soup": "kerastl.training.averaging",
        "wise_ft": "kerastl.training.averaging",
    },
)
