"""Transfer learning for Keras 3: a fine-tuning cycle that does what it says."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from kerastl._lazy import NAMESPACES, make_namespaces

#: Whether this process is the `kerastl` command. Only there Keras may wait until it is
#: needed: elsewhere a saved model must load after a bare `import kerastl`, and Keras
#: finds classes that are not its own by no other way than registration.
_IS_COMMAND = bool(sys.argv) and (
    Path(sys.argv[0]).stem == "kerastl"
    # So it looks while the packages above the module of `python -m` are imported.
    or (sys.argv[0] == "-m" and "kerastl.cli" in sys.orig_argv)
)

# TensorFlow's C++ code warns in each epoch of a guess at costs that it could not make,
# and a notebook shows that. Errors still show, but in the command, whose users the
# missing GPU that they are about is no news to; who set a level, or imported TensorFlow
# before, keeps theirs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if _IS_COMMAND else "2")

__version__ = "0.1.0"

#: Modules with classes that saved models are made of.
_SAVED = (
    "kerastl.models.layers",
    "kerastl.models.optimizers",
    "kerastl.models.text_layers",
    "kerastl.tasks.classification",
    "kerastl.tasks.detection",
    "kerastl.tasks.language",
    "kerastl.tasks.regression",
    "kerastl.tasks.tagging",
    "kerastl.tasks.segmentation",
    "kerastl.training.schedules",
)
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
    "build_regressor": "kerastl.tasks.regression",
    "calibrate": "kerastl.prediction",
    "check_environment": "kerastl.environment",
    "class_names": "kerastl.models.record",
    "evaluate": "kerastl.prediction",
    "export_model": "kerastl.export.exporting",
    "fine_tune": "kerastl.training.recipes",
    "freeze": "kerastl.models.freezing",
    "list_backbones": "kerastl.models.backbones",
    "load_dataset": "kerastl.data.catalog",
    "load_images": "kerastl.data.loading",
    "load_model": "kerastl.tasks.building",
    "load_table": "kerastl.data.tables",
    "make_shapes": "kerastl.data.shapes",
    "open_data": "kerastl.data.inputs",
    "predict": "kerastl.prediction",
    "recipe_phases": "kerastl.training.recipes",
    "run_phases": "kerastl.training.run",
    "save_model": "kerastl.tasks.building",
    "trainable_report": "kerastl.models.freezing",
    "transfer": "kerastl.workflow",
    "unfreeze": "kerastl.models.freezing",
}
#: Reachable, and left out of completion: what calls return or seldom need.
_ALSO = {
    "Boxes": "kerastl.data.boxes",
    "ExportReport": "kerastl.export.exporting",
    "build_detector": "kerastl.tasks.detection",
    "convert_boxes": "kerastl.data.boxes",
    "AuditReport": "kerastl.data.audit",
    "Masks": "kerastl.data.masks",
    "Mixing": "kerastl.data.mixing",
    "TextAuditReport": "kerastl.data.text_audit",
    "TextEncoder": "kerastl.models.tokenizing",
    "TextSet": "kerastl.data.texts",
    "TrainingHistory": "kerastl.training.phase",
    "TransferResult": "kerastl.workflow",
    "adapt_model": "kerastl.tasks.building",
    "build_segmenter": "kerastl.tasks.segmentation",
    "device_strategy": "kerastl.features.network",
    "load_texts": "kerastl.data.texts",
    "train_only": "kerastl.models.freezing",
    "with_image_size": "kerastl.models.adapting",
}
#: Modules of further names, imported when they are first used.
_NAMESPACES = (
    *NAMESPACES,
    "adaptation",
    "comparison",
    "explain",
    "features",
    "selection",
    "tasks",
)

__all__ = ["__version__", *_PUBLIC, *_NAMESPACES]


def register_saved_classes() -> None:
    """Tell Keras the classes that saved models are made of."""
    for module in _SAVED:
        importlib.import_module(module)


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


make_namespaces(__name__)
if not _IS_COMMAND:
    register_saved_classes()
