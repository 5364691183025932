"""What the clones of one feature extractor share: its networks and its features."""

import copy
import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

import keras
import numpy as np

from kerastl.inference.cache_keys import cache_key, network_key
from kerastl.inference.feature_store import FeatureStore

#: Families that came here by pickle and are kept, the last ones used.
_RECEIVED_LIMIT = 4


@dataclass(frozen=True)
class PackedModel:
    """A network as the bytes of its `.keras` file, for other processes.

    Attributes:
        key: Stands for what the network computes, and its layers' names.
        data: The file.
    """

    key: str
    data: bytes


class Family:
    """The networks and the features of one extractor and its clones."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.lock = threading.RLock()
        self.store = FeatureStore()
        self._networks: dict[Hashable, keras.Model] = {}
        self._packed: dict[str, PackedModel] = {}
        self._keys: WeakKeyDictionary[keras.Model, tuple[str, str]]
        self._keys = WeakKeyDictionary()

    def find(self, settings: Hashable) -> keras.Model | None:
        """The network of these settings, if it has been built."""
        return self._networks.get(settings)

    def adopt(self, settings: Hashable, network: keras.Model) -> None:
        """Take a network for these settings."""
        self._networks[settings] = network

    def network_key(self, network: keras.Model) -> str:
        """`network_key`, described again only when the weights have changed.

        To describe a graph takes a fifth of a second, its weights a few milliseconds.
        """
        weights = weights_digest(network)
        known = self._keys.get(network)
        if known is None or known[0] != weights:
            known = self._keys[network] = weights, network_key(network)
        return known[1]

    def pack(self, model: keras.Model) -> PackedModel:
        """A network as bytes, written anew only when its weights have changed."""
        key = _named_key(model)
        if key not in self._packed:
            plain = keras.Model(model.input, model.output, name=model.name)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "network.keras"
                plain.save(file)
                self._packed = {key: PackedModel(key, file.read_bytes())}
        return self._packed[key]

    def unpack(self, packed: PackedModel) -> keras.Model:
        """The network of these bytes; the same one again while it is unchanged."""
        found = self._networks.get(packed.key)
        if found is None or _named_key(found) != packed.key:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "network.keras"
                file.write_bytes(packed.data)
                found = keras.models.load_model(file, compile=False)
            self._networks[packed.key] = found
        return found


def weights_digest(model: keras.Model) -> str:
    """A hash of all weights, in order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _named_key(model: keras.Model) -> str:
    """A key for a network and the names of its layers: cuts are found by them."""
    names = (operation.name for operation in model.operations)
    return cache_key(network_key(model), *names)


_received: OrderedDict[str, Family] = OrderedDict()
_receiving = threading.Lock()


def received_family(key: str) -> Family:
    """The family of the extractors that came to this process by pickle.

    The parallel jobs of a grid search each unpickle an extractor of their own; through
    this they build one network and compute each image once a process.
    """
    with _receiving:
        family = _received.setdefault(key, Family())
        _received.move_to_end(key)
        while len(_received) > _RECEIVED_LIMIT:
            _received.popitem(last=False)
        return family


class FamilyMember:
    """An estimator whose clones, also in parallel jobs, share networks and features.

    It brings `_key()`, what decides its network, and `_restore()`, which fits it
    without images.
    """

    def _family(self) -> Family:
        """What this extractor shares with its clones."""
        return vars(self).setdefault("_shared", Family())

    def __sklearn_clone__(self) -> Self:
        """An unfitted extractor that shares the networks and the features."""
        clone = type(self)(**self.get_params(deep=False))
        shared = {"_shared": self._family()}
        for name in ("_sklearn_output_config", "_metadata_request"):
            if name in vars(self):
                shared[name] = copy.deepcopy(vars(self)[name])
        vars(clone).update(shared)
        return clone

    def __getstate__(self) -> dict[str, Any]:
        """For the parallel jobs of a grid search: networks as bytes of their file."""
        state = dict(super().__getstate__())
        family, key = self._family(), self._key()
        state.pop("_shared", None)
        fitted = state.pop("network_", None)
        if isinstance(self.backbone, keras.Model):
            state["backbone"] = family.pack(self.backbone)
        elif (built := fitted or family.find(key)) is not None:
            # Someone may have trained it since.
            state["_built"] = family.pack(built)
        return {**state, "_fitted": fitted is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Find the networks that came to this process before, or load them."""
        fitted, built = state.pop("_fitted"), state.pop("_built", None)
        backbone = state["backbone"]
        packed = backbone if isinstance(backbone, PackedModel) else built
        family = received_family(packed.key if packed else "")
        super().__setstate__({**state, "_shared": family})
        with family.lock:
            if isinstance(backbone, PackedModel):
                self.backbone = family.unpack(backbone)
            elif built is not None:
                family.adopt(self._key(), family.unpack(built))
            if fitted:
                self._restore()
