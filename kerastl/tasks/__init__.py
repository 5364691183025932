"""What is asked of a network: its head, loss, scores and report."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Anchors": "kerastl.tasks.anchors",
        "BinaryTask": "kerastl.tasks.classification",
        "EvaluationReport": "kerastl.tasks.classification_report",
        "MulticlassTask": "kerastl.tasks.classification",
        "MultilabelTask": "kerastl.tasks.classification",
        "NumberPredictions": "kerastl.tasks.regression",
        "Predictions": "kerastl.tasks.classification",
        "RegressionReport": "kerastl.tasks.regression",
        "RegressionTask": "kerastl.tasks.regression",
        "Task": "kerastl.tasks.task",
        "build_model": "kerastl.tasks.building",
        "fit_anchors": "kerastl.tasks.anchors",
        "register_task": "kerastl.tasks.task",
        "task_from_config": "kerastl.tasks.task",
    },
)
