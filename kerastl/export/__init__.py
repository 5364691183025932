"""A model for other programs: written, run in its own runtime, and compared."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ExportReport": "kerastl.export.exporting",
        "export_model": "kerastl.export.exporting",
    },
)
