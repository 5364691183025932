"""Reading a report's page back: its structure, its data, what a browser makes of it."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
# Elements that have no end.
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page; raises where one ends that had not begun."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.ids, self.texts = [], [], [], []
        self.data = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attributes)))
        if "id" in names:
            self.ids.append(dict(attributes)["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        last = self.open[-1] if self.open else ""
        if last == "script" and self.elements[-1][1].get("id") == "report":
            self.data += text
        elif last not in ("script", "style"):
            self.texts.append(text)

    @property
    def report(self):
        return json.loads(self.data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def dumped(path, script, width=1100):
    """What a real browser says of a page after running `script` in it, as JSON."""
    text = path.read_text(encoding="utf-8")
    probe = (
        "<script>addEventListener('load',()=>setTimeout(()=>{const d="
        f"(()=>{{{script}}})();document.body.innerHTML='<pre id=\"told\">'+"
        "encodeURIComponent(JSON.stringify(d))+'</pre>'},50))</script>"
    )
    copy = path.with_name("probed.html")
    copy.write_text(text.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},900",
            "--virtual-time-budget=3000",
            "--enable-logging=stderr",
            "--dump-dom",
            copy.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    from urllib.parse import unquote

    told = done.stdout.partition('<pre id="told">')[2].partition("</pre>")[0]
    lines = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unquote(told)), lines
