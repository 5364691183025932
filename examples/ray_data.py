"""The features of a folder of photos by Ray Data, in the order of their files.

    pip install "ray[data]"
    KERAS_BACKEND=jax python examples/ray_data.py data/shapes features.npz

Ray gives batches out to workers, on one machine or on many that see the folder, and
takes the results as they come: each row carries the place of its file, and is put back
there. A file that cannot be read ends the job here, and what was done is lost: for more
than that see `kerastl features --shard` in `docs/features.md`.
"""

import argparse
from pathlib import Path

import numpy as np

BATCH = 64


class Reader:
    """One worker: a network of its own, built once."""

    def __init__(self) -> None:
        """Build it."""
        from kerastl.features import FeatureExtractor

        options = {"batch_size": BATCH, "cache": "off"}
        self.extractor = FeatureExtractor("MobileNet", **options)

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows with their features."""
        return {**rows, "features": self.extractor.fit_transform(list(rows["path"]))}


def main() -> None:
    """Compute, put in order, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    import ray

    suffixes = {".jpg", ".jpeg", ".png"}
    found = [p for p in given.folder.rglob("*") if p.suffix.lower() in suffixes]
    paths = [str(path.resolve()) for path in sorted(found)]
    items = [{"place": place, "path": path} for place, path in enumerate(paths)]
    made = ray.data.from_items(items).map_batches(
        Reader, batch_size=BATCH, concurrency=given.workers
    )
    features: np.ndarray | None = None
    for batch in made.iter_batches(batch_size=BATCH):
        if features is None:
            features = np.empty((len(paths), batch["features"].shape[1]), "float32")
        features[batch["place"]] = batch["features"]
    names = [str(Path(path).relative_to(given.folder.resolve())) for path in paths]
    np.savez(given.output, features=features, paths=np.array(names))
    print(f"{len(paths)} images, {features.shape[1]} features each, in {given.output}")


if __name__ == "__main__":
    main()
