"""The page of the service: its text, and what a real browser makes of it."""

import json

import numpy as np
import pytest
from browser_pages import browsing
from evidence_pages import BROWSER, Page
from networks import small_classifier
from PIL import Image
from served import Echo, app_of, ask, running

import kerastl
from kerastl.serving import server

pytest.importorskip("starlette")

EVIL = "<img src=x onerror=alert(1)>"
NAMES = (EVIL, "beech & co", 'quo"ted')
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def model():
    return small_classifier(NAMES, learnt=True)


@pytest.fixture(scope="module")
def port(model):
    with running(server.web_app(model, max_bytes=20_000)) as found:
        yield found


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / f"{EVIL.replace('/', '')}.png"
    pixels = np.random.default_rng(3).integers(0, 256, (30, 50, 3)).astype("uint8")
    Image.fromarray(pixels).save(path)
    return path


def opened(tab, port, **options):
    tab.console.clear()
    tab.asked.clear()
    tab.open(f"http://127.0.0.1:{port}/", **options)
    tab.wait("about !== null")


def test_the_page_is_one_file_and_lets_no_other_script_run(port):
    answer = ask(port, path="/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    read = Page(answer.bytes.decode("utf-8"))
    assert len(read.ids) == len(set(read.ids))
    assert [link["href"] for link in read.all("link")] == ["data:,"]
    assert not [each for each in read.all("script") if "src" in each]
    assert not [each for _, each in read.elements if {"style", "onclick"} & set(each)]
    labelled = {label["for"] for label in read.all("label")}
    assert labelled == {"file", "text"} <= set(read.ids)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and policy.count("'sha256-") == 2


@needs_browser
def test_a_photo_is_answered_with_names_as_text(tab, port, photo, model):
    opened(tab, port)
    tab.choose("#file", photo)
    tab.wait("document.querySelector('article img')?.naturalWidth === 16")
    found = kerastl.predict(model, photo)
    shown = tab.run(
        """({title: document.querySelector("article h2").textContent,
        label: document.querySelector("article strong").textContent,
        names: [...document.querySelectorAll("article th")].map(e => e.textContent),
        bars: [...document.querySelectorAll("article meter")].map(e => e.value),
        alt: document.querySelector("article img").alt,
        said: document.getElementById("said").textContent,
        about: document.getElementById("about").textContent,
        images: document.images.length, scripts: document.scripts.length})"""
    )
    top = found.top(3)[0]
    assert shown["title"] == photo.name and shown["label"] == found.labels[0]
    assert shown["names"] == [name for name, _ in top]
    assert shown["bars"] == [round(value, 6) for _, value in top]
    assert shown["alt"] and shown["said"] == f"{photo.name} is answered."
    assert EVIL in shown["about"]
    # No name has become an element.
    assert (shown["images"], shown["scripts"]) == (1, 1)
    assert tab.console == []
    own = f"http://127.0.0.1:{port}/"
    assert {url for url in tab.asked if not url.startswith(("data:", own))} == set()


@needs_browser
def test_what_cannot_be_answered_is_said_on_the_page(tab, port, tmp_path):
    words, large = tmp_path / "words.png", tmp_path / "large.png"
    words.write_text("These are words.")
    large.write_bytes(bytes(20_001))
    opened(tab, port)
    tab.choose("#file", words, large)
    tab.wait("document.querySelectorAll('article.wrong').length === 2")
    # The newest first.
    said = tab.run(
        "[...document.querySelectorAll('article p')].map(e => e.textContent)"
    )
    assert said == [
        "It has more than 20,000 bytes.",
        "The image cannot be read: not an image by its content.",
    ]
    assert len([url for url in tab.asked if url.endswith("/show")]) == 1


@needs_browser
def test_photos_are_dropped_and_pasted(tab, port):
    opened(tab, port)
    tab.run(
        """(async () => {
        const canvas = new OffscreenCanvas(20, 20);
        canvas.getContext("2d").fillRect(0, 0, 9, 9);
        const blob = await canvas.convertToBlob();
        for (const [kind, name] of [["drop", "dropped.png"], ["paste", "pasted.png"]]) {
          const data = new DataTransfer();
          data.items.add(new File([blob], name, {type: "image/png"}));
          const given = {bubbles: true, cancelable: true};
          const event = kind === "drop"
            ? new DragEvent(kind, {...given, dataTransfer: data})
            : new ClipboardEvent(kind, {...given, clipboardData: data});
          document.getElementById("drop").dispatchEvent(event);
        }})()"""
    )
    tab.wait("document.querySelectorAll('article img').length === 2")
    titles = tab.run("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    assert sorted(titles) == ["dropped.png", "pasted.png"]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_both_schemes(tab, port, photo, scheme):
    opened(tab, port, width=320, scheme=scheme)
    tab.choose("#file", photo)
    tab.wait("document.querySelector('article img')?.naturalWidth > 0")
    found = tab.run(
        """({wide: document.documentElement.scrollWidth, inside: innerWidth,
        ink: getComputedStyle(document.body).color,
        page: getComputedStyle(document.body).backgroundColor,
        dim: getComputedStyle(document.getElementById("about")).color})"""
    )
    assert found["wide"] <= found["inside"] == 320
    light = luminance(found["page"])
    assert (light > 0.5) == (scheme == "light")
    for name in ("ink", "dim"):
        # Contrast of text by WCAG 2.2, success criterion 1.4.3.
        low, high = sorted((luminance(found[name]), light))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def luminance(colour):
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2.2 defines it."""
    shares = np.array([float(part) for part in colour[4:-1].split(",")]) / 255
    linear = np.where(
        shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


@needs_browser
def test_a_text_is_asked_by_the_keyboard_alone(tab):
    text = f"{EVIL} is\nfine"
    with running(app_of(Echo())) as port:
        opened(tab, port, width=320)
        assert tab.run("document.getElementById('images').hidden")
        tab.key("Tab", 9)
        assert tab.run("document.activeElement.id") == "text"
        tab.send("Input.insertText", text=text)
        tab.key("Tab", 9)
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        assert tab.run(ring) == "solid"
        tab.key("Enter", 13, "\r")
        tab.wait("document.querySelector('article strong') !== null")
        shown = tab.run(
            """({title: document.querySelector("h2").textContent,
            label: document.querySelector("strong").textContent,
            cells: [...document.querySelectorAll("td.number")].map(e => e.textContent),
            images: document.images.length})"""
        )
    assert shown["title"] == text and shown["label"] == "yes"
    assert shown["cells"] == ["75.0 %", "25.0 %"] and shown["images"] == 0
    assert tab.console == []


@needs_browser
def test_objects_and_entities_are_listed_as_text(tab, port):
    opened(tab, port)
    entity = {"text": EVIL, "kind": "person", "start": 0, "stop": 9}
    told = [
        {"entities": [entity | {"probability": 0.5}], "tags": ["B-person"]},
        {"entities": [], "tags": []},
        {"objects": [{"name": EVIL, "score": 0.75, "box": [1, 2.6, 3, 4]}]},
        {"objects": []},
    ]
    found = [
        tab.run(
            f"""(() => {{
            const article = add(document.body, "article");
            const rest = {{ values: [], shares: false, picture: null }};
            fill(article, {{ answer: {json.dumps(answer)}, ...rest }});
            return [...article.querySelectorAll("th, td, p")].map(e => e.textContent);
            }})()"""
        )
        for answer in told
    ]
    nothing = ["Nothing was found."]
    boxed = [EVIL, "0.75", "1, 3, 3, 4"]
    assert found == [[EVIL, "person", "50.0 %"], nothing, boxed, nothing]


@needs_browser
def test_the_page_says_that_the_server_is_gone(tab, photo):
    with running(app_of(Echo())) as port:
        opened(tab, port)
    tab.run("ask('a text', new Blob(['{}']), 'application/json')")
    tab.wait("document.querySelector('article.wrong') !== null")
    said = tab.run("document.querySelector('article p').textContent")
    assert said == "The server does not answer."
