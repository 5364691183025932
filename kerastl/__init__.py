"""Transfer learning for Keras 3: a fine-tuning cycle that does what it says."""

import importlib
from typing import Any

# Registers the layers and losses that saved classifiers are made of.
import kerastl.models.layers
import kerastl.models.tasks  # noqa: F401

__version__ = "0.1.0"

#: Public name -> module that holds it.
_PUBLIC = {
    "Advice": "kerastl.selection.advising",
    "AuditReport": "kerastl.datasets.auditing",
    "BackboneRanking": "kerastl.selection.ranking",
    "DepthProfile": "kerastl.selection.depth",
    "EvaluationReport": "kerastl.evaluation.reports",
    "FeatureExtractor": "kerastl.inference.extractor",
    "ImageSet": "kerastl.datasets.sets",
    "LooRidge": "kerastl.selection.ridge",
    "Phase": "kerastl.training.phase",
    "Predictions": "kerastl.inference.prediction",
    "Splits": "kerastl.datasets.sets",
    "TrainableGuard": "kerastl.training.guard",
    "TrainingHistory": "kerastl.training.phase",
    "TransferResult": "kerastl.workflow",
    "advise": "kerastl.selection.advising",
    "audit": "kerastl.datasets.auditing",
    "batches": "kerastl.datasets.pipelines",
    "build_backbone": "kerastl.models.backbones",
    "build_classifier": "kerastl.models.heads",
    "class_names": "kerastl.models.manifest",
    "classical_head": "kerastl.inference.classical",
    "cut_points": "kerastl.models.graph",
    "depth_profile": "kerastl.selection.depth",
    "device_strategy": "kerastl.inference.devices",
    "evaluate": "kerastl.inference.scoring",
    "fine_tune": "kerastl.training.recipes",
    "fold_pipeline": "kerastl.inference.folding",
    "freeze": "kerastl.models.freezing",
    "gbc": "kerastl.selection.separability",
    "h_score": "kerastl.selection.separability",
    "knn_score": "kerastl.selection.neighbours",
    "leep": "kerastl.selection.expected_prediction",
    "linear_probe_score": "kerastl.selection.ridge",
    "list_backbones": "kerastl.models.backbones",
    "load_classifier": "kerastl.models.saving",
    "load_dataset": "kerastl.datasets.catalog",
    "load_images": "kerastl.datasets.folders",
    "logme": "kerastl.selection.evidence",
    "loo_ridge": "kerastl.selection.ridge",
    "make_shapes": "kerastl.datasets.shapes",
    "nleep": "kerastl.selection.expected_prediction",
    "plot_confusion": "kerastl.evaluation.confusion",
    "plot_history": "kerastl.evaluation.curves",
    "plot_mistakes": "kerastl.evaluation.grids",
    "plot_pareto": "kerastl.evaluation.pareto",
    "plot_reliability": "kerastl.evaluation.reliability",
    "predict": "kerastl.inference.prediction",
    "rank_backbones": "kerastl.selection.ranking",
    "run_phases": "kerastl.training.phases",
    "save_classifier": "kerastl.models.saving",
    "set_head": "kerastl.inference.folding",
    "show_images": "kerastl.evaluation.grids",
    "split_model": "kerastl.models.graph",
    "trainable_report": "kerastl.models.trainable_table",
    "transfer": "kerastl.workflow",
    "truncate": "kerastl.models.graph",
    "unfreeze": "kerastl.models.freezing",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing stays quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kerastl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted(__all__)
