"""Penalties that a phase adds to the loss."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "L2SP": "kerastl.training.penalties",
        "Penalty": "kerastl.training.penalties",
        "l2_sp": "kerastl.training.penalties",
        "l2_sp_penalty": "kerastl.training.penalties",
        "remove_l2_sp": "kerastl.training.penalties",
    },
)
