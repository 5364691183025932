"""The service: answers as of `predict`, and a sentence for whatever is no request."""

import base64
import io
import json
import signal
import socket
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import pixels, small_classifier, small_network, teach_head
from PIL import Image, features
from served import (
    BOUNDARY,
    Echo,
    app_of,
    ask,
    command,
    form,
    post,
    running,
    wait_until,
)

import kerastl
from kerastl.cli.program import main
from kerastl.evaluation.map_plots import lay_over
from kerastl.models.record import read_record, set_operating
from kerastl.serving import answers, server
from kerastl.serving.answers import Answerer
from kerastl.tasks.task import bind_known

pytest.importorskip("starlette")

NAMES = ("<b>ash</b>", "beech", "cedar")


def saved(image, kind="PNG", **options):
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def photo(seed=0, size=(60, 40), mode="RGB"):
    """Smooth and unlike any other, so that each way to resize gives other pixels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype("uint8"))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


def photos():
    """50 files of many kinds."""
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = np.random.default_rng(9).integers(0, 65536, (30, 20)).astype("uint16")
    clear = photo(3).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    kinds = [
        ("large.jpg", saved(photo(1, (640, 480)), "JPEG")),
        ("turned.jpg", saved(photo(2), "JPEG", exif=turned)),
        ("print.jpg", saved(photo(4, mode="CMYK"), "JPEG")),
        ("deep.png", saved(Image.fromarray(deep))),
        ("clear.png", saved(clear)),
        ("grey.png", saved(photo(5, mode="L"))),
        ("moving.gif", saved(photo(6), "GIF", save_all=True, append_images=[photo(7)])),
        ("modern.webp", saved(photo(8), "WEBP")),
    ]
    return kinds + [(f"p{n}.png", saved(photo(n))) for n in range(10, 52)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, data in photos():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def model():
    return small_classifier(NAMES, learnt=True)


@pytest.fixture(scope="module")
def kept(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    kerastl.save_model(model, path)
    return path


@pytest.fixture(scope="module")
def started(kept):
    with command(kept) as found:
        yield found


@pytest.fixture(scope="module")
def port(model):
    with running(server.web_app(model, max_bytes=300_000, hosts=server._LOOPBACK)) as p:
        yield p


def printed(capsys, *arguments):
    """The lines that `kerastl predict --jsonl` prints, as bytes."""
    capsys.readouterr()
    assert main(["predict", *map(str, arguments), "--jsonl"]) == 0
    return capsys.readouterr().out.encode("utf-8").splitlines(keepends=True)


def test_fifty_at_once_get_what_the_command_prints(started, files, kept, capsys):
    lines = printed(capsys, kept, files, "--batch-size", "1")
    paths = [json.loads(line)["path"] for line in lines]
    alone = next(path for path in paths if path.endswith("turned.jpg"))
    assert printed(capsys, kept, alone) == [lines[paths.index(alone)]]
    assert len({line.partition(b'"label"')[2] for line in lines}) == len(lines) == 50
    together = threading.Barrier(50)

    def one(path):
        body, headers = form("file", Path(path).read_bytes(), path)
        together.wait()
        return ask(started.port, "POST", "/predict", body, headers)

    with ThreadPoolExecutor(50) as pool:
        told = list(pool.map(one, paths))
    assert [answer.status for answer in told] == [200] * 50
    assert [answer.bytes for answer in told] == lines


def test_a_name_is_given_back_and_never_opened(port, files):
    data, other = (files / "p10.png").read_bytes(), str(files / "p11.png")
    bare = post(port, data, "image/png")
    named = ask(port, "POST", "/predict", *form("file", data, other))
    assert json.loads(bare.bytes)["path"] is None
    assert json.loads(named.bytes) == {**json.loads(bare.bytes), "path": other}
    absent = ask(port, "POST", "/predict", *form("file", data, "/no/such/file.png"))
    assert json.loads(absent.bytes)["path"] == "/no/such/file.png"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_answer_is_that_of_predict_at_the_same_batch_size(model, batch_size):
    given = Answerer(model, batch_size=batch_size)
    images = pixels(9, 16)
    examples = [given.read_image(saved(Image.fromarray(image))) for image in images]
    options = {"batch_size": batch_size}
    expected = kerastl.predict(model, images, **options).probabilities
    for count in range(1, batch_size + 1):
        found = given.predictions(examples[:count])
        assert len(found) == batch_size
        np.testing.assert_array_equal(found.probabilities[:count], expected[:count])
        assert len(given.rows(examples[:count])) == count


def test_what_waits_is_put_together_and_a_bad_one_costs_itself_alone():
    echo = Echo(batch_size=4)
    echo.go.clear()
    texts = ["first", *(f"t{n}" for n in range(8)), "bad", "broken"]
    with running(app_of(echo)) as port, ThreadPoolExecutor(16) as pool:
        first = pool.submit(post, port, b"first", "text/plain")
        wait_until(lambda: json.loads(ask(port).bytes)["running"] == 1)
        rest = [pool.submit(post, port, t.encode(), "text/plain") for t in texts[1:]]
        wait_until(lambda: json.loads(ask(port).bytes)["running"] == len(texts))
        echo.go.set()
        told = [each.result() for each in (first, *rest)]
        counts = json.loads(ask(port).bytes)
    assert [answer.status for answer in told] == [200] * 9 + [422, 500]
    for text, answer in zip(texts[:9], told, strict=False):
        assert json.loads(answer.bytes) == {"text": text}
    assert json.loads(told[-2].bytes) == {"error": "`text` must be good."}
    # The class of a fault is told, and not what it says.
    assert b"ZeroDivisionError" in told[-1].bytes and b"secret" not in told[-1].bytes
    assert max(map(len, echo.batches)) == 4
    assert counts == {"status": "ok", "answered": 9, "running": 0}


def png_of(width, height, kept=b""):
    """A PNG that says how large it is; of its pixels `kept` alone are there."""

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(kept))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


GOOD = saved(photo())
FORM = f"multipart/form-data; boundary={BOUNDARY}"
BROKEN = {
    "nothing": (b"", "image/png", 400),
    "no image": (b"These are words.", "image/png", 422),
    "cut off": (GOOD[: len(GOOD) // 2], "image/png", 422),
    "a cut off JPEG": (saved(photo(), "JPEG")[:400], "image/jpeg", 422),
    "a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 422),
    "51 megapixels": (png_of(8000, 6400), "image/png", 413),
    "a bomb": (png_of(60_000, 60_000), "image/png", 413),
    "too long": (bytes(300_001), "image/png", 413),
    "much too long": (bytes(9 * 300_000), "image/png", 413),
    "text": (b"words", "text/plain", 415),
    "JSON": (b'{"text": "words"}', "application/json", 415),
    "another field": (form("photo", GOOD, "a.png")[0], FORM, 400),
    "a field that is no file": (form("file", b"words")[0], FORM, 415),
    "an empty file": (form("file", b"", "a.png")[0], FORM, 400),
    "two files": (
        form("file", GOOD, "a")[0][: -len(BOUNDARY) - 6] + form("file", GOOD, "b")[0],
        FORM,
        400,
    ),
    "no boundary": (form("file", GOOD, "a.png")[0], "multipart/form-data", 400),
    "half a form": (form("file", GOOD, "a.png")[0][:90], FORM, 400),
    "no form": (b"words", FORM, 400),
}


def one_sentence(answer):
    """The one JSON sentence that an answer must be."""
    assert answer.headers["content-type"] == "application/json"
    (name, said), *others = json.loads(answer.bytes).items()
    assert (name, others) == ("error", [])
    assert answer.bytes.count(b"\n") == 1 and "\n" not in said
    assert said[-1] == "." and "Traceback" not in said and " at 0x" not in said
    return said


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("path", ["/predict", "/show"])
def test_what_is_no_photo_costs_one_sentence(port, name, path):
    body, kind, status = BROKEN[name]
    answer = post(port, body, kind, path)
    assert answer.status == status, answer.bytes
    one_sentence(answer)
    assert post(port, GOOD, path=path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("POST", "/", 405),
        ("DELETE", "/metadata", 405),
        ("GET", "/nothing", 404),
        ("POST", "/predict/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/page.html", 404),
    ],
)
def test_another_method_or_address_is_said(port, method, path, status):
    answer = ask(port, method, path, b"" if method in ("POST", "PUT") else None)
    assert answer.status == status
    said = one_sentence(answer)
    assert "POST /predict" in said
    assert ("allow" in answer.headers) == (status == 405)


def test_another_name_of_this_machine_is_refused(port):
    answer = ask(port, headers={"Host": f"evil.example:{port}"})
    assert answer.status == 421
    one_sentence(answer)
    for name in ("127.0.0.1", "localhost:1", "[::1]:80", "LOCALHOST"):
        assert ask(port, headers={"Host": name}).status == 200


def test_what_is_no_http_ends_neither_the_process_nor_the_others(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01 words\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n")
        raw.sendall(b"Content-Length: 99\r\n\r\nhalf a body")
    wait_until(lambda: json.loads(ask(port).bytes)["running"] == 0)
    assert post(port, GOOD).status == 200


def test_damaged_bytes_never_cost_more_than_a_sentence(started):
    """By the process itself, which must live and write no traceback."""
    rng = np.random.default_rng(0)
    wholes = [saved(photo(), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP")]
    statuses = set()
    for number in range(60):
        data = bytearray(wholes[number % len(wholes)])
        for place in rng.integers(0, len(data), 1 + number % 5):
            data[place] = rng.integers(0, 256)
        if number % 3 == 0:
            del data[rng.integers(1, len(data)) :]
        answer = post(started.port, bytes(data), "image/png")
        statuses.add(answer.status)
        if answer.status != 200:
            one_sentence(answer)
    assert statuses == {200, 422} or statuses == {200, 422, 413}
    assert started.process.poll() is None


def test_a_damaged_avif_is_no_fault_of_the_model(port, model, tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data = bytearray(saved(photo(), "AVIF"))
    colours = data.find(b"mdat") + 4
    data[colours : colours + 60] = bytes(60)
    answer = post(port, bytes(data), "image/avif")
    assert answer.status == 422
    one_sentence(answer)
    path = tmp_path / "damaged.avif"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"images that can be read.*damaged\.avif"):
        kerastl.predict(model, path)


TEXTS = {
    "no JSON": (b'{"text": ', "application/json", 400),
    "a list": (b'["text"]', "application/json", 400),
    "another field": (b'{"txt": "a"}', "application/json", 400),
    "a field more": (b'{"text": "a", "path": "b"}', "application/json", 400),
    "a number": (b'{"text": 3}', "application/json", 400),
    "deep": (b"[" * 900, "application/json", 400),
    "no UTF-8": (b"\xff\xfe", "text/plain", 400),
    "bytes": (b"words", "application/octet-stream", 415),
    "a form of a page": (b"text=a", "application/x-www-form-urlencoded", 415),
    "nothing": (b"", "application/json", 400),
    "too long": (b"a" * 1001, "text/plain", 413),
    "a file": (form("file", b"words", "a.txt")[0], FORM, 400),
}


@pytest.fixture(scope="module")
def texts_port():
    with running(app_of(Echo())) as found:
        yield found


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_text_costs_one_sentence(texts_port, name):
    body, kind, status = TEXTS[name]
    answer = post(texts_port, body, kind)
    assert answer.status == status, answer.bytes
    one_sentence(answer)


def test_a_text_comes_as_json_as_plain_text_or_in_a_form(texts_port):
    text = "Größe, \u2603 and \U0001f600"
    plain = text.encode("utf-8")
    for body, kind in (
        (json.dumps({"text": text}).encode(), "application/json; charset=utf-8"),
        (plain, "text/plain"),
        (form("text", plain)[0], FORM),
        (form("text", plain, "a.txt", "text/plain")[0], FORM),
    ):
        answer = post(texts_port, body, kind)
        assert json.loads(answer.bytes) == {"text": text}
        assert text.encode("utf-8") in answer.bytes


def test_half_a_character_is_no_text(model):
    given = Answerer(model)
    for text in ("\ud800", "", "a" * 1_000_001):
        with pytest.raises(answers.RequestError) as refused:
            given.read_text(text)
        assert refused.value.status == 422


def test_a_slow_body_and_one_too_many_are_told_so(monkeypatch):
    monkeypatch.setattr(server, "_PATIENCE", 0.2)
    monkeypatch.setattr(server, "_AT_ONCE", 1)
    echo = Echo()
    with running(app_of(echo)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n")
            slow.sendall(b"Content-Length: 9\r\n\r\nhalf")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        echo.go.clear()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(post, port, b"first", "text/plain")
            wait_until(lambda: json.loads(ask(port).bytes)["running"] == 1)
            second = post(port, b"second", "text/plain")
            echo.go.set()
        assert second.status == 503 and second.headers["retry-after"] == "1"
        one_sentence(second)
        assert first.result().status == 200


def test_what_is_shown_is_the_answer_the_probabilities_and_the_map(port, model):
    image = photo(11)
    told = json.loads(post(port, saved(image), path="/show").bytes)
    assert told["answer"] == json.loads(post(port, saved(image)).bytes)
    found = kerastl.predict(model, image)
    expected = [{"name": n, "value": round(v, 6)} for n, v in found.top(3)[0]]
    assert told["values"] == expected and told["shares"] is True
    drawn = picture(told)
    explained = kerastl.explain.explain(model, image, target=found.labels[0])
    wanted = lay_over(explained.pixels[0], explained.maps[0])
    np.testing.assert_array_equal(drawn, wanted)
    # A second image must not get the first one's map.
    other = json.loads(post(port, saved(photo(12)), path="/show").bytes)
    assert not np.array_equal(picture(other), drawn)


def picture(told):
    head, data = told["picture"].split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_map_is_of_the_class_that_a_threshold_gave():
    model = small_classifier(("no", "yes"), task="binary", learnt=True)
    image = photo(4)
    probable = kerastl.predict(model, image)
    chance = probable.probabilities[0, 1]
    data = kerastl.ImageSet(pixels(8), np.arange(8) % 2, ("no", "yes"))
    kerastl.metrics.choose_threshold(model, data, costs=(1, 1))
    # Just on the other side of it: the less probable class is given.
    other = chance + 0.01 if chance > 0.5 else chance - 0.01
    set_operating(model, read_record(model).operating | {"threshold": other})
    given = Answerer(model)
    told = given.shown(given.read_image(saved(image)))
    label = told["answer"]["label"]
    assert label == kerastl.predict(model, image).labels[0] != probable.labels[0]
    explained = kerastl.explain.explain(model, image, target=label)
    wanted = lay_over(explained.pixels[0], explained.maps[0])
    np.testing.assert_array_equal(picture(told), wanted)
    assert given.metadata()["threshold"] == other


def test_numbers_are_listed_and_mapped():
    model = kerastl.build_regressor(
        small_network(), [1.0, 2.0, 4.0], names=["age"], preprocessing="tf"
    )
    teach_head(model)
    given = Answerer(model)
    told = given.shown(given.read_image(saved(photo()), "a.png"))
    value = round(float(kerastl.predict(model, photo()).values[0, 0]), 6)
    assert told["answer"] == {"path": "a.png", "age": value}
    assert told["values"] == [{"name": "age", "value": value}]
    assert told["shares"] is False and picture(told).shape == (16, 16, 3)


def test_masks_have_the_size_that_the_image_came_with():
    from kerastl.tasks.segmentation import build_segmenter

    names = ("ground", "block")
    model = build_segmenter(small_network(), names, width=8, preprocessing="tf", seed=1)
    dense = next(w for w in model.weights[::-1] if w.ndim == 4)
    dense.assign(np.random.default_rng(0).normal(size=dense.shape))
    given = Answerer(model)
    image = photo(5, (90, 50))
    example = given.read_image(saved(image))
    found = given.predictions([example])
    expected = kerastl.predict(model, [np.asarray(image)])
    assert found.masks[0].shape == expected.masks[0].shape == (50, 90)
    np.testing.assert_array_equal(found.masks[0], expected.masks[0])
    told = given.shown(example)
    assert given.picture == "mask" and told["shares"] is True
    assert [each["name"] for each in told["values"]] == list(names)
    np.testing.assert_array_equal(picture(told), expected.drawn(0, np.asarray(image)))


def test_boxes_are_drawn_in_the_picture_that_was_made_smaller(model, monkeypatch):
    from kerastl.tasks.detection import Detections

    monkeypatch.setattr(answers, "_SHOWN", 100)
    box = np.array([[100, 40, 300, 160]], "float32")
    found = Detections(
        ("mug",), (box,), (np.array([0]),), (np.array([0.9], "float32"),)
    )
    given = Answerer(model)
    example = given.read_image(saved(Image.new("RGB", (400, 200))))
    monkeypatch.setattr(given, "predictions", lambda examples: found)
    told = given.shown(example)
    assert told["answer"]["objects"][0]["box"] == box[0].tolist()
    drawn = picture(told)
    assert drawn.shape == (50, 100, 3)
    rows, columns = np.nonzero(drawn.any(axis=-1))
    # The name stands above or in the box.
    assert (columns.min(), rows.max()) == (25, 40)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_boxes_are_the_numbers_of_predict_to_the_last_digit(files, batch_size):
    """They are printed unrounded: any other arithmetic would show."""
    options = {"alpha": 0.25, "weights": "tiny", "image_size": 64}
    backbone = kerastl.build_backbone("MobileNet", **options)
    model = kerastl.build_detector(backbone, ("mug", "pen"), width=16)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.ndim > 1:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    names = ("large.jpg", "turned.jpg", "clear.png", "p10.png")
    paths = [str(files / name) for name in names]
    expected = list(kerastl.predict(model, paths, batch_size=batch_size))
    given = Answerer(model, batch_size=batch_size)
    for path, row in zip(paths, expected, strict=True):
        assert given.rows([given.read_image(Path(path).read_bytes(), path)]) == [row]
    assert min(len(row["objects"]) for row in expected) > 1


def test_metadata_say_what_is_taken(port, model):
    told = json.loads(ask(port, path="/metadata").bytes)
    assert told["class_names"] == list(NAMES) and told["takes"] == "image"
    assert told["image_size"] == [16, 16] and told["resize"] == "stretch"
    assert (told["max_bytes"], told["max_pixels"]) == (300_000, 50_000_000)
    assert (told["batch_size"], told["picture"]) == (1, "map")
    assert told["versions"]["backend"] == keras.backend.backend()
    assert "/" not in json.dumps({k: v for k, v in told.items() if k != "class_names"})


def test_a_model_of_other_bands_is_refused(model, monkeypatch):
    bound = bind_known(model)
    bands = replace(bound, record=replace(bound.record, channels=5))
    monkeypatch.setattr(answers, "bind_known", lambda _: bands)
    with pytest.raises(ValueError, match="`model` must be one of photos or of texts"):
        server.web_app(model)


def test_the_end_waits_for_what_runs(kept):
    with command(kept) as found:
        process, port = found.process, found.port
        head = (
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(GOOD)}"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
            raw.sendall(f"{head}\r\n\r\n".encode() + GOOD[:50])
            wait_until(lambda: json.loads(ask(port).bytes)["running"] == 1)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(port))
            raw.sendall(GOOD[50:])
            told = raw.makefile("rb").read()
        assert told.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(told.partition(b"\r\n\r\n")[2])["label"] in NAMES
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (out, error) == ("ended: all that ran was answered\n", "")


def refuses(port):
    try:
        ask(port)
    except OSError:
        return True
    return False


def test_a_port_that_is_taken_is_said_in_one_line(kept, capsys, port):
    assert main(["serve", str(kept), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "kerastl: error: `port` must be one that is free at 127.0.0.1"
    )
    assert said.count("\n") == 1
    with pytest.raises(ValueError, match="`port` must be"):
        server.serve(small_classifier(NAMES), port=65_536)


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch, model, capsys
):
    monkeypatch.setitem(sys.modules, "starlette", None)
    # Nobody waits for the model, were it there, to hear this.
    assert main(["serve", "no-such-model.keras"]) == 1
    said = capsys.readouterr().err
    assert "pip install 'kerastl[serve]'" in said and said.count("\n") == 1
    with pytest.raises(ImportError, match=r"^Serving needs .* 'kerastl\[serve\]'$"):
        server.serve(model)
    with pytest.raises(ImportError, match=r"pip install 'kerastl\[serve\]'$"):
        server.web_app(model)


def test_arguments_that_do_not_fit_are_refused(model):
    for name in ("batch_size", "max_pixels", "max_bytes"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1"):
            server.web_app(model, **{name: 0})
