"""A model of texts behind the service: the answers of `predict`."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from served import ask, post, running
from text_sets import TEXTS, backbone

import kerastl
from kerastl._json import json_line, rounded
from kerastl.serving.server import web_app

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def model():
    made = kerastl.build_classifier(backbone(), ("bad", "good"), dropout=0.0)
    dense = made.get_layer("head_dense")
    dense.kernel.assign(np.random.default_rng(0).normal(size=dense.kernel.shape))
    return made


def test_texts_at_once_get_what_predict_says_at_the_same_batch_size(model, tmp_path):
    named = tmp_path / "secret.txt"
    named.write_text("a text\nand another")
    # The last is the name of a file: a text like any other.
    texts = [*TEXTS[:15], str(named)]
    found = kerastl.predict(model, texts, batch_size=4)
    expected = [f"{json_line(rounded(row))}\n".encode() for row in found]
    assert len(set(expected)) == len(texts)

    def one(text):
        return post(port, json.dumps({"text": text}).encode(), "application/json")

    with running(web_app(model, batch_size=4)) as port, ThreadPoolExecutor(16) as pool:
        told = list(pool.map(one, texts))
        about = json.loads(ask(port, path="/metadata").bytes)
        body = json.dumps({"text": texts[0]}).encode()
        shown = json.loads(post(port, body, "application/json", "/show").bytes)
    assert [answer.bytes for answer in told] == expected
    assert (about["takes"], about["picture"], about["batch_size"]) == ("text", None, 4)
    assert about["sequence_length"] == 10 and about["image_size"] == []
    assert shown["answer"] == json.loads(expected[0]) and shown["picture"] is None
    top = found.top(2)[0]
    assert shown["values"] == [{"name": n, "value": round(v, 6)} for n, v in top]
