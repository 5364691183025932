"""A service in a thread of this process, or the command in one of its own."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

from kerastl.serving import server
from kerastl.serving.answers import Example

BOUNDARY = "a-boundary"


def form(field, data, name=None, kind=None, boundary=BOUNDARY):
    """Body and headers of a form with one field."""
    head = f'Content-Disposition: form-data; name="{field}"'
    head += "" if name is None else f'; filename="{name}"'
    head += "" if kind is None else f"\r\nContent-Type: {kind}"
    body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + data
    body += f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def ask(port, method="GET", path="/health", body=None, headers=None):
    """Status, headers and bytes of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return SimpleNamespace(
            status=answer.status, headers=dict(answer.headers), bytes=answer.read()
        )
    finally:
        connection.close()


def post(port, body, kind="application/octet-stream", path="/predict"):
    return ask(port, "POST", path, body, {"Content-Type": kind})


@contextmanager
def running(app):
    """The port at which an application answers, as long as the block lasts."""
    import uvicorn

    listening = server._listen("127.0.0.1", 0)
    settings = {"http": "h11", "ws": "none", "lifespan": "on", "log_config": None}
    web = uvicorn.Server(uvicorn.Config(app, **settings))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        web.should_exit = True
        thread.join()


@contextmanager
def command(*arguments):
    """`kerastl serve` in a process of its own: its process and its port."""
    words = [sys.executable, "-m", "kerastl.cli", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*words, "--port", "0"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"answers at http://127\.0\.0\.1:(\d+) ", line):
                break
        else:
            raise AssertionError("".join(lines))
        yield SimpleNamespace(process=process, port=int(found[1]))
    finally:
        process.kill()
        process.communicate()


class Echo:
    """Answers texts with themselves; one that says so spoils its batch."""

    def __init__(self, batch_size=1):
        self.batch_size, self.of_texts = batch_size, True
        self.batches, self.go = [], threading.Event()
        self.go.set()

    def metadata(self):
        names = {"class_names": ["no", "yes"], "target_names": []}
        return {"takes": "text", "backbone": "echo", "task": "binary", **names}

    def read_text(self, text):
        return Example(text=text)

    def rows(self, examples):
        self.go.wait(60)
        self.batches.append([example.text for example in examples])
        for example in examples:
            if example.text == "bad":
                raise ValueError("`text` must be good")
            if example.text == "broken":
                raise ZeroDivisionError("a secret of the model")
        return [{"text": example.text} for example in examples]

    def shown(self, example):
        (answer,) = self.rows([example])
        values = [{"name": "yes", "value": 0.75}, {"name": "no", "value": 0.25}]
        answer["label"] = "yes"
        return {"answer": answer, "values": values, "shares": True, "picture": None}


def app_of(answerer, max_bytes=1000, hosts=None):
    """The application of whatever answers."""
    return server._Service(answerer, max_bytes, hosts).app()


def wait_until(true):
    """Wait until `true()`; what never comes true fails the test."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")
