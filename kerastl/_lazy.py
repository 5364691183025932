"""Namespaces whose names are imported when they are first used."""

import importlib
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    module: str, table: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a module that only collects names.

    Args:
        module: The collecting module's `__name__`.
        table: Name -> `"module"` that holds it under the same name, or
            `"module:other_name"`.
    """

    def get(name: str) -> Any:
        if name not in table:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        holder, _, own = table[name].partition(":")
        value = getattr(importlib.import_module(holder), own or name)
        setattr(sys.modules[module], name, value)
        return value

    return get, lambda: sorted(table), sorted(table)


#: Modules that only collect names of others: what they are for, and their names.
NAMESPACES: dict[str, tuple[str, dict[str, str]]] = {
    "averaging": (
        "Averages of the weights of several models: interpolation and soups.",
        {
            "ModelSoup": "kerastl.training.averaging",
            "WeightInterpolation": "kerastl.training.averaging",
            "greedy_soup": "kerastl.training.averaging",
            "interpolate_weights": "kerastl.training.averaging",
            "recompute_batchnorm": "kerastl.training.batch_statistics",
            "uniform_soup": "kerastl.training.averaging",
            "wise_ft": "kerastl.training.averaging",
        },
    ),
    "lora": (
        "Low-rank adapters (LoRA) on a backbone: add, train, save, merge.",
        {
            "LoraReport": "kerastl.models.lora",
            "add": "kerastl.models.lora:add_lora",
            "load": "kerastl.models.lora:load_adapters",
            "merge": "kerastl.models.lora:merge_lora",
            "save": "kerastl.models.lora:save_adapters",
        },
    ),
    "metrics": (
        "Scores of predictions and their intervals, and what they are worth.",
        {
            "CalibrationResult": "kerastl.prediction",
            "LabelIssues": "kerastl.features.label_issues",
            "OperatingPoint": "kerastl.evaluation.operating",
            "CorruptionReport": "kerastl.evidence.corruptions",
            "SliceReport": "kerastl.evaluation.slices",
            "ThresholdChoice": "kerastl.prediction",
            "choose_threshold": "kerastl.prediction",
            "corruption_report": "kerastl.evidence.corruptions",
            "cohen_kappa": "kerastl.evaluation.metrics",
            "find_label_issues": "kerastl.features.label_issues",
            "matthews_correlation": "kerastl.evaluation.metrics",
            "operating_point": "kerastl.evaluation.operating",
            "roc_auc": "kerastl.evaluation.metrics",
            "slice_report": "kerastl.evaluation.slices",
            "threshold_at": "kerastl.evaluation.operating",
            "PairedComparison": "kerastl.evaluation.metrics",
            "ReliabilityCurve": "kerastl.evaluation.calibration",
            "accuracy": "kerastl.evaluation.metrics",
            "average_precision": "kerastl.evaluation.detection",
            "balanced_accuracy": "kerastl.evaluation.metrics",
            "bootstrap": "kerastl.evaluation.metrics",
            "brier": "kerastl.evaluation.metrics",
            "dice": "kerastl.evaluation.overlap",
            "iou": "kerastl.evaluation.overlap",
            "pixel_confusion": "kerastl.evaluation.overlap",
            "compare_classifiers": "kerastl.evaluation.metrics",
            "expected_calibration_error": "kerastl.evaluation.calibration",
            "f1": "kerastl.evaluation.metrics",
            "fit_temperature": "kerastl.evaluation.calibration",
            "log_loss": "kerastl.evaluation.metrics",
            "non_maximum_suppression": "kerastl.evaluation.detection",
            "per_class_scores": "kerastl.evaluation.metrics",
            "reliability_curve": "kerastl.evaluation.calibration",
            "wilson_interval": "kerastl.evaluation.metrics",
        },
    ),
    "penalties": (
        "Penalties that a phase adds to the loss.",
        {
            "L2SP": "kerastl.training.penalties",
            "Penalty": "kerastl.training.penalties",
            "l2_sp": "kerastl.training.penalties",
            "l2_sp_penalty": "kerastl.training.penalties",
            "remove_l2_sp": "kerastl.training.penalties",
        },
    ),
    "plots": (
        "Figures of runs and results; each returns a matplotlib figure.",
        {
            "batch": "kerastl.features.sources:plot_batch",
            "boxes": "kerastl.evaluation.box_plots:plot_boxes",
            "confusion": "kerastl.evaluation.score_plots:plot_confusion",
            "drift": "kerastl.evaluation.plots:plot_drift",
            "explanations": "kerastl.evaluation.map_plots:plot_explanations",
            "history": "kerastl.evaluation.plots:plot_history",
            "images": "kerastl.evaluation.grids:show_images",
            "interpolation": "kerastl.evaluation.plots:plot_interpolation",
            "learning_rates": "kerastl.evaluation.plots:plot_learning_rates",
            "masks": "kerastl.evaluation.mask_plots:plot_masks",
            "mistakes": "kerastl.evaluation.grids:plot_mistakes",
            "pareto": "kerastl.evaluation.score_plots:plot_pareto",
            "reliability": "kerastl.evaluation.score_plots:plot_reliability",
            "schedule": "kerastl.evaluation.plots:plot_schedule",
        },
    ),
    "rates": (
        "Learning rates: the range test, schedules, rates that differ between blocks.",
        {
            "HyperRule": "kerastl.training.schedules",
            "OneCycle": "kerastl.training.schedules",
            "RateCurve": "kerastl.training.rate_finder",
            "SlantedTriangular": "kerastl.training.schedules",
            "WarmUp": "kerastl.training.schedules",
            "bit_hyperrule": "kerastl.training.schedules",
            "find_learning_rate": "kerastl.training.rate_finder",
            "layerwise_optimizer": "kerastl.models.optimizers",
            "learning_rates": "kerastl.models.optimizers",
            "relative_gradient_norms": "kerastl.training.gradient_norms",
        },
    ),
}


def make_namespaces(package: str) -> None:
    """Make the modules of `NAMESPACES`, so that `import` finds them as if in files."""
    for name, (text, table) in NAMESPACES.items():
        module = types.ModuleType(f"{package}.{name}", text)
        get, listed, names = lazy_names(module.__name__, table)
        vars(module).update(__getattr__=get, __dir__=listed, __all__=names)
        sys.modules[module.__name__] = module
