"""The client of `examples/export_client.html`, in a real browser."""

import functools
import json
import os
import queue
import shutil
import subprocess
import threading
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


#: Tells the server what the page in it shows, once that is an answer.
WATCHER = """<iframe src="page.html?runtime=runtime/"></iframe><script>
const look = () => {
  const said = document.querySelector("iframe").contentDocument?.getElementById("said");
  const text = said?.textContent ?? "loading";
  if (text === "loading") setTimeout(look, 50);
  else fetch("/said", { method: "POST", body: text });
};
look();
</script>"""


class Handler(SimpleHTTPRequestHandler):
    """Serves files on the loopback interface, and hears what the page shows."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *given, heard, **options):
        self.heard = heard
        super().__init__(*given, **options)

    def do_POST(self):
        self.heard.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def shown(tmp_path):
    """What the page shows of an export in `tmp_path / "exported"`."""
    shutil.copy(ROOT / "examples" / "export_client.html", tmp_path / "page.html")
    (tmp_path / "watcher.html").write_text(WATCHER)
    (tmp_path / "runtime").mkdir()
    for name in FILES:
        (tmp_path / "runtime" / name).symlink_to(RUNTIME / name)
    heard = queue.Queue()
    handler = functools.partial(Handler, directory=tmp_path, heard=heard)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    words = ["--headless=new", "--no-sandbox", "--disable-gpu"]
    words += [f"--user-data-dir={tmp_path / 'user'}"]
    address = f"http://127.0.0.1:{server.server_port}/watcher.html"

    def run():
        # To a port, or a headless browser ends at once.
        options = [*words, "--remote-debugging-port=0", address]
        with subprocess.Popen(
            [BROWSER, *options], stderr=subprocess.DEVNULL
        ) as browser:
            try:
                return heard.get(timeout=120)
            finally:
                browser.terminate()

    yield run
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_a_browser_reproduces_the_probes(resize, tmp_path, shown):
    export_model(small_classifier(learnt=True, resize=resize), tmp_path / "exported")
    said = (tmp_path / "exported" / "model.json").read_text(encoding="utf-8")
    expected = [probe["answer"] for probe in json.loads(said)["probes"]]
    assert np.ptp(expected, axis=0).max() > 0.05
    text = shown()
    assert text.startswith("{"), text
    found = json.loads(text)
    np.testing.assert_allclose(found["answers"], expected, atol=1e-5)
    assert found["away"] < 1e-5
