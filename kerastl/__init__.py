"""Transfer learning for Keras 3: a fine-tuning cycle that does what it says."""

import importlib
import os
from typing import Any

# TensorFlow's C++ code warns in each epoch of a guess at costs that it could not make,
# and a notebook shows that. Errors still show; who set a level, or imported TensorFlow
# before, keeps theirs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Registers what saved models are made of.
import kerastl.models.layers
import kerastl.models.optimizers
import kerastl.tasks.classification
import kerastl.training.schedules  # noqa: F401

__version__ = "0.1.0"

#: Public name -> module that holds it.
_PUBLIC = {
    "Augmentation": "kerastl.data.augmentation",
    "ImageSet": "kerastl.data.sets",
    "Phase": "kerastl.training.phase",
    "Splits": "kerastl.data.sets",
    "TrainableGuard": "kerastl.training.watching",
    "advise": "kerastl.selection.advice",
    "audit": "kerastl.data.audit",
    "batches": "kerastl.data.sources",
    "build_backbone": "kerastl.models.backbones",
    "build_classifier": "kerastl.tasks.building",
    "calibrate": "kerastl.prediction",
    "class_names": "kerastl.models.record",
    "evaluate": "kerastl.prediction",
    "fine_tune": "kerastl.training.recipes",
    "freeze": "kerastl.models.freezing",
    "list_backbones": "kerastl.models.backbones",
    "load_dataset": "kerastl.data.catalog",
    "load_images": "kerastl.data.loading",
    "load_model": "kerastl.tasks.building",
    "make_shapes": "kerastl.data.shapes",
    "open_data": "kerastl.data.inputs",
    "predict": "kerastl.prediction",
    "recipe_phases": "kerastl.training.recipes",
    "run_phases": "kerastl.training.run",
    "save_model": "kerastl.tasks.building",
    "train_only": "kerastl.models.freezing",
    "trainable_report": "kerastl.models.freezing",
    "transfer": "kerastl.workflow",
    "unfreeze": "kerastl.models.freezing",
}
#: Reachable, and left out of completion: what calls return or seldom need.
_ALSO = {
    "AuditReport": "kerastl.data.audit",
    "Mixing": "kerastl.data.mixing",
    "TrainingHistory": "kerastl.training.phase",
    "TransferResult": "kerastl.workflow",
    "device_strategy": "kerastl.features.network",
}
#: Modules of further names, imported when they are first used.
_NAMESPACES = (
    "averaging",
    "comparison",
    "features",
    "lora",
    "metrics",
    "penalties",
    "plots",
    "rates",
    "selection",
    "tasks",
)

__all__ = ["__version__", *_PUBLIC, *_NAMESPACES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing stays quick."""
    if name in _NAMESPACES:
        return importlib.import_module(f"kerastl.{name}")
    module = _PUBLIC.get(name) or _ALSO.get(name)
    if module is None:
        raise AttributeError(f"module 'kerastl' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
