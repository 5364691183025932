"""Figures of runs and results; each returns a matplotlib figure."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "confusion": "kerastl.evaluation.score_plots:plot_confusion",
        "drift": "kerastl.evaluation.plots:plot_drift",
        "history": "kerastl.evaluation.plots:plot_history",
        "images": "kerastl.evaluation.grids:show_images",
        "interpolation": "kerastl.evaluation.plots:plot_interpolation",
        "learning_rates": "kerastl.evaluation.plots:plot_learning_rates",
        "mistakes": "kerastl.evaluation.grids:plot_mistakes",
        "pareto": "kerastl.evaluation.score_plots:plot_pareto",
        "reliability": "kerastl.evaluation.score_plots:plot_reliability",
        "schedule": "kerastl.evaluation.plots:plot_schedule",
    },
)
