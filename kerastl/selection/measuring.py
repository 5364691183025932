"""What one forward pass over a sample tells about a backbone: features and costs."""

import math
import time
from typing import Any

import keras
import numpy as np

from kerastl._compat import graph_nodes
from kerastl.datasets.parallel import Progress
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import PixelStore
from kerastl.inference.feature_networks import feature_network
from kerastl.inference.features import extract_features
from kerastl.models.costs import multiplications
from kerastl.models.manifest import network_size
from kerastl.selection.candidates import Candidate

_BATCHES = 4


class BackboneReader:
    """Runs backbones over one sample; pixels of the size used last are kept.

    Args:
        sample: Images, at least two.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time, at most: there are several batches, since the
            first one, with its compilation, is left out of the timing.
    """

    def __init__(self, sample: ImageSet, *, resize: str, batch_size: int) -> None:
        """See the class."""
        self._sample, self._resize = sample, resize
        self._batch = min(batch_size, max(len(sample) // _BATCHES, 1))
        self._store: PixelStore | None = None

    def measure(
        self, candidate: Candidate, backbone: keras.Model, progress: Progress
    ) -> tuple[dict[str, Any], np.ndarray]:
        """What is known of a backbone, and its features `(n, d)`, from one pass.

        Args:
            candidate: Where the backbone came from.
            backbone: From pixels to a feature map.
            progress: Called with (done, total) images.
        """
        network = feature_network(backbone)
        size = network_size(network, candidate.options.get("image_size"))
        if self._store is None or self._store.image_size != size:
            options = {"image_size": size, "resize": self._resize}
            self._store = PixelStore(self._sample, **options)
            # Reading files is none of the network's time.
            self._store.pixels()
        ends = []

        def note(done: int, total: int) -> None:
            ends.append(time.perf_counter())
            progress(done, total)

        features = extract_features(
            network,
            self._sample,
            image_size=size,
            batch_size=self._batch,
            store=self._store,
            progress=note,
        )
        return {
            "name": candidate.label,
            "image_size": size,
            "features": features.shape[1],
            "parameters": backbone.count_params(),
            "multiplications": multiplications(backbone),
            # The median: other work on the machine disturbs single batches.
            "seconds": float(np.median(np.diff(ends))) / self._batch,
            "weight_bytes": sum(_nbytes(weight) for weight in backbone.weights),
            "activation_bytes": live_bytes(backbone),
        }, features


def live_bytes(model: keras.Model) -> int:
    """Most bytes of float32 feature maps alive at once, for one image."""
    nodes = graph_nodes(model)
    last_use = {tensor: place for place, n in enumerate(nodes) for tensor in n.inputs}
    live: dict[int, int] = {}
    most = 0
    for place, node in enumerate(nodes):
        for tensor in node.outputs:
            live[id(tensor)] = 4 * math.prod(side or 1 for side in tensor.shape[1:])
        most = max(most, sum(live.values()))
        live = {
            key: size for key, size in live.items() if last_use.get(key, -1) > place
        }
    return most


def _nbytes(weight: keras.Variable) -> int:
    return int(keras.ops.convert_to_numpy(weight).nbytes)
