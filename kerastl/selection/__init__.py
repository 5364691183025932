"""What to start from and how much of it to train, measured on your images."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Advice": "kerastl.selection.advice",
        "BackboneRanking": "kerastl.selection.ranking",
        "DepthProfile": "kerastl.selection.depth",
        "AdvisedTraining": "kerastl.selection.advice",
        "SizeChoice": "kerastl.selection.image_size",
        "advise": "kerastl.selection.advice",
        "choose_image_size": "kerastl.selection.image_size",
        "depth_profile": "kerastl.selection.depth",
        "follow": "kerastl.selection.advice",
        "gbc": "kerastl.selection.transferability",
        "h_score": "kerastl.selection.transferability",
        "knn_score": "kerastl.selection.transferability",
        "leep": "kerastl.selection.transferability",
        "logme": "kerastl.selection.transferability",
        "nleep": "kerastl.selection.transferability",
        "rank_backbones": "kerastl.selection.ranking",
        "Trial": "kerastl.selection.tuning",
        "Tuning": "kerastl.selection.tuning",
        "tune": "kerastl.selection.tuning",
    },
)
