"""What batches are worth in `kerastl serve`: requests a second, and one alone.

Servers of batch sizes 1 and 8, for a small and a middling network, asked in turns: 16
clients at once, then one. Photos of 640 x 480 as JPEG, decoded for each request.

    python benchmarks/serving.py
"""

import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import kerastl

NETWORKS: dict[str, dict[str, Any]] = {
    "MobileNet 0.25, 96 pixels": {"alpha": 0.25, "image_size": 96, "weights": "tiny"},
    "MobileNet 1.0, 224 pixels": {"image_size": 224, "weights": None},
}
BATCHES, CLIENTS, REQUESTS, TURNS = (1, 8), 16, 64, 5


def save(options: dict[str, Any], path: Path) -> None:
    """A classifier of ten classes; what it answers does not matter."""
    backbone = kerastl.build_backbone("MobileNet", **options)
    names = [f"class {number}" for number in range(10)]
    kerastl.save_model(kerastl.build_classifier(backbone, names), path)


def start(path: Path, batch: int) -> tuple[subprocess.Popen, str]:
    """A server, and its address."""
    words = ["serve", str(path), "--port", "0", "--batch-size", str(batch)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kerastl.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise RuntimeError("the server did not start")


def seconds(address: str, body: bytes) -> float:
    """One request."""
    began = time.perf_counter()
    kind = {"Content-Type": "image/jpeg"}
    asked = urllib.request.Request(f"{address}/predict", body, kind)
    urllib.request.urlopen(asked).read()
    return time.perf_counter() - began


def together(address: str, body: bytes) -> float:
    """Requests a second, of several clients at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: seconds(address, body), range(REQUESTS)))
    return REQUESTS / (time.perf_counter() - began)


def main() -> None:
    """Print a row for each network and batch size: medians over turns, and range."""
    held = io.BytesIO()
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype("uint8"))
    coarse.resize((640, 480), Image.Resampling.BICUBIC).save(held, "JPEG")
    body = held.getvalue()
    for name, options in NETWORKS.items():
        path = Path(tempfile.mkdtemp()) / "model.keras"
        save(options, path)
        servers = {batch: start(path, batch) for batch in BATCHES}
        rates: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        alone: dict[int, list[float]] = {batch: [] for batch in BATCHES}
        for turn in range(TURNS + 1):
            for batch, (_, address) in servers.items():
                rate = together(address, body)
                one = statistics.median(seconds(address, body) for _ in range(20))
                if turn:  # The first warms up.
                    rates[batch].append(rate)
                    alone[batch].append(1000 * one)
        for batch, (process, _) in servers.items():
            process.terminate()
            process.wait()
            shown = [
                f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})"
                for found in (rates[batch], alone[batch])
            ]
            print(f"{name} | {batch} | {shown[0]} a second | {shown[1]} ms alone")


if __name__ == "__main__":
    main()
