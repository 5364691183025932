"""A model that answers over HTTP, and the page that asks it."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Answerer": "kerastl.serving.answers",
        "serve": "kerastl.serving.server",
        "web_app": "kerastl.serving.server",
    },
)
