"""What is asked of a network: its head, loss, scores and report."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Anchors": "kerastl.tasks.anchors",
        "BinaryTask": "kerastl.tasks.classification",
        "EvaluationReport": "kerastl.tasks.classification_report",
        "LanguageModelTask": "kerastl.tasks.language",
        "LanguageReport": "kerastl.tasks.language",
        "MulticlassTask": "kerastl.tasks.classification",
        "MultilabelTask": "kerastl.tasks.classification",
        "NumberPredictions": "kerastl.tasks.regression",
        "Predictions": "kerastl.tasks.classification",
        "RegressionReport": "kerastl.tasks.regression",
        "RegressionTask": "kerastl.tasks.regression",
        "TagPredictions": "kerastl.tasks.tagging",
        "TaggingReport": "kerastl.tasks.tagging",
        "TaggingTask": "kerastl.tasks.tagging",
        "Task": "kerastl.tasks.task",
        "build_language_model": "kerastl.tasks.language",
        "MaskPredictions": "kerastl.tasks.segmentation",
        "SegmentationReport": "kerastl.tasks.segmentation_report",
        "SegmentationTask": "kerastl.tasks.segmentation",
        "build_segmenter": "kerastl.tasks.segmentation",
        "build_model": "kerastl.tasks.building",
        "build_tagger": "kerastl.tasks.tagging",
        "find_spans": "kerastl.tasks.tagging",
        "fit_anchors": "kerastl.tasks.anchors",
        "generate": "kerastl.tasks.language",
        "next_tokens": "kerastl.tasks.language",
        "register_task": "kerastl.tasks.task",
        "score_tags": "kerastl.tasks.tagging",
        "score_tokens": "kerastl.tasks.language",
        "task_from_config": "kerastl.tasks.task",
    },
)
