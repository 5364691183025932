"""A real browser, asked what a page shows: Chromium through its own protocol."""

import base64
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

from evidence_pages import BROWSER


class Tab:
    """One page, as a person has it before them."""

    def __init__(self, orders, answers):
        self.orders, self.answers, self.number = orders, answers, 0
        #: Errors and warnings of the page, and addresses that it asked for.
        self.console, self.asked = [], []
        made = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=made, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    session = None

    def send(self, method, **given):
        """What the browser answers to one order."""
        self.number += 1
        order = {"id": self.number, "method": method, "params": given}
        if self.session:
            order["sessionId"] = self.session
        self.orders.write(json.dumps(order).encode() + b"\0")
        self.orders.flush()
        while True:
            told = json.loads(self._line())
            if told.get("id") == self.number:
                assert "error" not in told, told["error"]
                return told["result"]
            self._note(told)

    def _line(self):
        line = bytearray()
        while (byte := self.answers.read(1)) not in (b"\0", b""):
            line += byte
        return bytes(line)

    def _note(self, told):
        kind, given = told.get("method"), told.get("params", {})
        if kind == "Log.entryAdded":
            self.console.append(given["entry"]["text"])
        elif kind == "Runtime.exceptionThrown":
            self.console.append(str(given["exceptionDetails"]))
        elif kind == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])

    def run(self, script):
        """The value of an expression in the page, promises awaited."""
        options = {"returnByValue": True, "awaitPromise": True}
        told = self.send("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script):
        """Wait until an expression is true."""
        for _ in range(300):
            if self.run(script):
                return
            time.sleep(0.05)
        raise AssertionError(
            f"never true: {script}; {self.run('document.body.innerText')}"
        )

    def open(self, address, width=1100, scheme="light"):
        sizes = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **sizes)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=media)
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def key(self, name, code, text=""):
        for kind in ("keyDown", "keyUp"):
            given = {"key": name, "code": name, "windowsVirtualKeyCode": code}
            given |= {"text": text} if kind == "keyDown" and text else {}
            self.send("Input.dispatchKeyEvent", type=kind, **given)

    def choose(self, selector, *paths):
        """Choose files in a field for such, as its dialog does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        found = self.send("DOM.querySelector", nodeId=root, selector=selector)
        given = {"files": list(map(str, paths)), "nodeId": found["nodeId"]}
        self.send("DOM.setFileInputFiles", **given)

    def picture(self):
        """The page as a PNG, for eyes."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])


#: The browser reads orders at 3 and writes answers to 4; the ends of pipes here have
#: other numbers, and a fork of this process would be one of JAX's threads.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
[os.dup2(end, number) for number, end in enumerate(ends, 3)]
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def browsing(folder):
    """A page of a browser of its own, whose settings lie in `folder`."""
    orders, answers = os.pipe(), os.pipe()
    ends = orders[0], answers[1]
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _LAUNCH, *map(str, ends), BROWSER, *quiet),
            f"--user-data-dir={folder}",
            "--remote-debugging-pipe",
        ],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in ends:
        os.close(end)
    with os.fdopen(orders[1], "wb") as write, os.fdopen(answers[0], "rb") as read:
        try:
            yield Tab(write, read)
        finally:
            process.kill()
            process.wait()
