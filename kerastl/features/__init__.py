"""A frozen network, computed once: extractors, cuts, caches and classical models."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "FeatureCache": "kerastl.features.cache",
        "FeatureExtractor": "kerastl.features.extractor",
        "Features": "kerastl.features.files",
        "LooRidge": "kerastl.features.probe",
        "classical_head": "kerastl.features.classical",
        "cut_points": "kerastl.models.blocks",
        "extract": "kerastl.features.files",
        "extract_shard": "kerastl.features.shards",
        "fold_pipeline": "kerastl.features.classical",
        "linear_probe_score": "kerastl.features.probe",
        "loo_ridge": "kerastl.features.probe",
        "merge_shards": "kerastl.features.shards",
        "set_head": "kerastl.features.classical",
        "split_model": "kerastl.models.blocks",
        "truncate": "kerastl.models.blocks",
        "write": "kerastl.features.files",
    },
)
