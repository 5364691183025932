"""Low-rank adapters (LoRA) on a backbone: add, train, save, merge."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "LoraReport": "kerastl.models.lora",
        "add": "kerastl.models.lora:add_lora",
        "load": "kerastl.models.lora:load_adapters",
        "merge": "kerastl.models.lora:merge_lora",
        "save": "kerastl.models.lora:save_adapters",
    },
)
