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
import kerastl.models.layerwise
import kerastl.models.tasks
import kerastl.training.schedules  # noqa: F401

__version__ = "0.1.0"

#: Public name -> module that holds it.
_PUBLIC = {
    "Advice": "kerastl.selection.advising",
    "AuditReport": "kerastl.datasets.auditing",
    "BackboneRanking": "kerastl.selection.ranking",
    "CalibrationResult": "kerastl.inference.calibrating",
    "DepthProfile": "kerastl.selection.depth",
    "EvaluationReport": "kerastl.evaluation.reports",
    "FeatureDrift": "kerastl.inference.drift",
    "FeatureExtractor": "kerastl.inference.extractor",
    "ForgettingReport": "kerastl.selection.forgetting",
    "HyperRule": "kerastl.training.hyperrule",
    "ImageSet": "kerastl.datasets.sets",
    "LooRidge": "kerastl.selection.ridge",
    "LoraReport": "kerastl.models.lora_report",
    "Mixing": "kerastl.datasets.mixing",
    "ModelSoup": "kerastl.training.soups",
    "OneCycle": "kerastl.training.schedules",
    "Phase": "kerastl.training.phase",
    "Predictions": "kerastl.inference.prediction",
    "RateCurve": "kerastl.training.rate_curve",
    "SlantedTriangular": "kerastl.training.schedules",
    "Splits": "kerastl.datasets.sets",
    "TrainableGuard": "kerastl.training.guard",
    "TrainingHistory": "kerastl.training.phase",
    "TransferResult": "kerastl.workflow",
    "WarmUp": "kerastl.training.schedules",
    "WeightInterpolation": "kerastl.training.averaging",
    "add_lora": "kerastl.models.adapters",
    "advise": "kerastl.selection.advising",
    "audit": "kerastl.datasets.auditing",
    "batches": "kerastl.datasets.pipelines",
    "bit_hyperrule": "kerastl.training.hyperrule",
    "build_backbone": "kerastl.models.backbones",
    "build_classifier": "kerastl.models.heads",
    "calibrate": "kerastl.inference.calibrating",
    "class_names": "kerastl.models.manifest",
    "classical_head": "kerastl.inference.classical",
    "cut_points": "kerastl.models.graph",
    "depth_profile": "kerastl.selection.depth",
    "device_strategy": "kerastl.inference.devices",
    "evaluate": "kerastl.inference.scoring",
    "feature_drift": "kerastl.inference.drift",
    "find_learning_rate": "kerastl.training.rate_finder",
    "fine_tune": "kerastl.training.fine_tuning",
    "fit_temperature": "kerastl.evaluation.temperature",
    "fold_pipeline": "kerastl.inference.folding",
    "forgetting_report": "kerastl.selection.forgetting",
    "freeze": "kerastl.models.freezing",
    "gbc": "kerastl.selection.separability",
    "greedy_soup": "kerastl.training.soups",
    "h_score": "kerastl.selection.separability",
    "interpolate_weights": "kerastl.training.averaging",
    "knn_score": "kerastl.selection.neighbours",
    "l2_sp": "kerastl.training.anchoring",
    "l2_sp_penalty": "kerastl.training.anchoring",
    "layerwise_optimizer": "kerastl.models.block_rates",
    "learning_rates": "kerastl.models.rate_table",
    "leep": "kerastl.selection.expected_prediction",
    "linear_cka": "kerastl.evaluation.similarity",
    "linear_probe_score": "kerastl.selection.ridge",
    "list_backbones": "kerastl.models.backbones",
    "load_adapters": "kerastl.models.adapter_files",
    "load_classifier": "kerastl.models.saving",
    "load_dataset": "kerastl.datasets.catalog",
    "load_images": "kerastl.datasets.folders",
    "logme": "kerastl.selection.evidence",
    "loo_ridge": "kerastl.selection.ridge",
    "make_shapes": "kerastl.datasets.shapes",
    "merge_lora": "kerastl.models.adapters",
    "nleep": "kerastl.selection.expected_prediction",
    "plot_confusion": "kerastl.evaluation.confusion",
    "plot_drift": "kerastl.evaluation.sweeps",
    "plot_history": "kerastl.evaluation.curves",
    "plot_interpolation": "kerastl.evaluation.sweeps",
    "plot_learning_rates": "kerastl.evaluation.rates",
    "plot_mistakes": "kerastl.evaluation.grids",
    "plot_pareto": "kerastl.evaluation.pareto",
    "plot_reliability": "kerastl.evaluation.reliability",
    "plot_schedule": "kerastl.evaluation.rates",
    "predict": "kerastl.inference.prediction",
    "rank_backbones": "kerastl.selection.ranking",
    "recompute_batchnorm": "kerastl.training.batch_statistics",
    "relative_gradient_norms": "kerastl.training.gradient_norms",
    "remove_l2_sp": "kerastl.training.anchoring",
    "run_phases": "kerastl.training.phases",
    "save_adapters": "kerastl.models.adapter_files",
    "save_classifier": "kerastl.models.saving",
    "set_head": "kerastl.inference.folding",
    "show_images": "kerastl.evaluation.grids",
    "split_model": "kerastl.models.graph",
    "train_only": "kerastl.models.freezing",
    "trainable_report": "kerastl.models.trainable_table",
    "transfer": "kerastl.workflow",
    "truncate": "kerastl.models.graph",
    "unfreeze": "kerastl.models.freezing",
    "uniform_soup": "kerastl.training.soups",
    "wise_ft": "kerastl.training.averaging",
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
