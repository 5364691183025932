"""Where a network looks, and whether the method that says so can be believed."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Explanation": "kerastl.explain.attribution",
        "MassInside": "kerastl.explain.sanity",
        "SanityReport": "kerastl.explain.sanity",
        "explain": "kerastl.explain.attribution",
        "mass_inside": "kerastl.explain.sanity",
        "sanity_check": "kerastl.explain.sanity",
    },
)
