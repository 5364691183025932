"""The client of `examples/export_client.html`, in a real browser."""

import functools
import json
import os
import re
import shutil
import subprocess
import threading
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from evidence_pages import BROWSER
from networks import small_classifier

from kerastl.export import export_model

ROOT = Path(__file__).parents[2]
#: What `npm install onnxruntime-web` makes, in the repository or where this names it.
NODE = Path(os.environ.get("NODE_MODULES", ROOT / "node_modules"))
RUNTIME = NODE / "onnxruntime-web" / "dist"
FILES = [f"ort-wasm-simd-threaded.{end}" for end in ("mjs", "wasm")]
FILES += ["ort.wasm.min.mjs"]

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="needs a Chromium"),
    pytest.mark.skipif(not RUNTIME.is_dir(), reason="needs npm's onnxruntime-web"),
    pytest.mark.skipif(not all(map(find_spec, ("tf2onnx", "onnx"))), reason="extra"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves files on the loopback interface without a line for each."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        pass


@pytest.fixture
def shown(tmp_path):
    """What the page shows of an export in `tmp_path / "exported"`."""
    shutil.copy(ROOT / "examples" / "export_client.html", tmp_path / "page.html")
    (tmp_path / "runtime").mkdir()
    for name in FILES:
        (tmp_path / "runtime" / name).symlink_to(RUNTIME / name)
    handler = functools.partial(Quiet, directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run():
        address = f"http://127.0.0.1:{server.server_port}/page.html?runtime=runtime/"
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        words += ["--virtual-time-budget=30000", f"--user-data-dir={tmp_path / 'user'}"]
        done = subprocess.run(
            [BROWSER, *words, address], capture_output=True, text=True, timeout=120
        )
        return unescape(re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)[1])

    yield run
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_browser_reproduces_the_probes(resize, tmp_path, shown):
    export_model(small_classifier(learnt=True, resize=resize), tmp_path / "exported")
    said = (tmp_path / "exported" / "model.json").read_text(encoding="utf-8")
    expected = [probe["answer"] for probe in json.loads(said)["probes"]]
    assert np.ptp(expected, axis=0).max() > 0.05
    found = json.loads(shown())
    np.testing.assert_allclose(found["answers"], expected, atol=1e-5)
    assert found["away"] < 1e-5
