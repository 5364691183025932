"""A report's page: whole, self-contained, and what it says is what was measured."""

import json

import numpy as np
import pytest
from browser_pages import browsing
from evidence_pages import BROWSER, Page, dumped
from networks import outputs, pixels, small_classifier, small_network, teach_head
from PIL import Image

import kerastl
from kerastl.evidence.facts import facts_of_model, read_run
from kerastl.evidence.page import card, page
from kerastl.metrics import choose_threshold

EVIL = "<img src=x onerror=alert(1)>"
NAMES = (EVIL, "beech & co", 'quo"ted')


def drawn(model, seed=2):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    teach_head(model)
    return model


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Of files with evil names, two in three right, in a run with a report."""
    root = tmp_path_factory.mktemp("run")
    model = drawn(small_classifier(NAMES))
    images = pixels(30)
    given = outputs(model, images).argmax(axis=1)
    labels = np.where(np.arange(30) % 3, given, np.arange(30) % 3)
    paths = []
    for number, image in enumerate(images):
        paths.append(root / f"{EVIL.replace('/', '')}{number}.png")
        Image.fromarray(image).save(paths[-1])
    data = kerastl.ImageSet([str(p) for p in paths], labels, NAMES)
    kerastl.save_model(model, root / "model.keras")
    phase = {"name": "head", "start": 0, "stop": 2, "trainable": 2, "moved": 2}
    run = {
        "data": "</script><script>alert(2)</script>",
        "phases": [{**phase, "seconds": 1.25, "cache": "in memory", "stopped": ""}],
        "best": {"phase": "head", "epoch": 1, "monitor": "val_loss", "value": 0.5},
        "splits": {"test": {"images": 30, "classes": data.counts()}},
        "settings": {"recipe": "lp_ft", "seed": 3, "image_size": [16, 16]},
        "seconds": {"total": 2.5},
    }
    (root / "report.json").write_text(json.dumps(run))
    history = "phase,epoch,loss,val_loss\nhead,0,1.0,1.1\nhead,1,0.5,0.6\n"
    (root / "history.csv").write_text(history)
    return facts_of_model(root, data, part="test")


@pytest.fixture(scope="module")
def written(facts):
    text = page(facts)
    return text, Page(text)


def test_it_is_one_page_that_asks_nobody_for_anything(written):
    text, read = written
    assert text.startswith("<!DOCTYPE html>")
    assert len(read.ids) == len(set(read.ids))
    assert all(image["src"].startswith("data:image/") for image in read.all("img"))
    assert all(image.get("alt") is not None for image in read.all("img"))
    assert {a["href"][0] for a in read.all("a")} == {"#"}
    targets = {a["href"][1:] for a in read.all("a")}
    assert targets <= set(read.ids)
    assert not read.all("link")
    assert not [s for s in read.all("script") if "src" in s]
    policy = read.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'")


def test_names_stay_text(written, facts):
    text, read = written
    assert EVIL not in text
    assert "alert(2)</script>" not in text
    assert EVIL in read.text
    assert not [image for image in read.all("img") if "onerror" in image]
    assert len(read.all("script")) == 2
    assert facts.run["data"] in read.text
    lines = card(facts)
    assert EVIL not in lines.replace("\\<", "").split("## Evaluation")[0]


def test_the_data_in_it_are_what_was_measured(written, facts):
    _, read = written
    expected = json.loads(json.dumps(facts.report.to_dict()))
    assert read.report["scores"] == expected
    wrong = np.flatnonzero(facts.predictions.indices != facts.targets)
    assert sorted(read.report["mistakes"]) == wrong.tolist()
    sure = facts.predictions.confidences[read.report["mistakes"]]
    assert (np.diff(sure) <= 0).all()
    assert 0 < len(wrong) < 30


def test_each_wrong_cell_leads_to_its_images(written, facts):
    _, read = written
    cells = {
        f"cell-{i}-{j}": int(facts.report.confusion[i, j])
        for i in range(3)
        for j in range(3)
        if i != j and facts.report.confusion[i, j]
    }
    assert {d["id"] for d in read.all("details")} == set(cells)
    assert len(cells) > 1
    for i, j in ((int(c[5]), int(c[7])) for c in cells):
        words = f"{NAMES[i]} taken for {NAMES[j]}: {cells[f'cell-{i}-{j}']}"
        assert words in read.text


def test_sections_say_what_the_run_said(written):
    _, read = written
    for part in ("summary", "data", "training", "curves", "classes", "mistakes"):
        assert part in read.ids
    for part in ("confusion", "doubtful-labels", "calibration", "groups"):
        assert part in read.ids
    assert "phase 'head', epoch 2: val_loss 0.5" in read.text
    assert "--recipe lp_ft" in read.text
    assert "--image-size 16" in read.text
    assert "not calibrated" in read.text
    assert "where the network looked" in [i.get("alt") for i in read.all("img")]


def test_pictures_are_few(facts):
    images = [i for i in Page(page(facts)).all("img") if i.get("class") != "figure"]
    # Each mistake that is mapped has two.
    assert len(images) <= 60 + 12


def test_two_classes_get_a_table_of_thresholds():
    model = drawn(small_classifier(("no", "yes"), task="binary"))
    images = pixels(40)
    found = outputs(model, images)[:, 0]
    labels = (found > np.median(found)).astype(int)
    labels[:6] = 1 - labels[:6]
    data = kerastl.ImageSet(images, labels, ("no", "yes"))
    choose_threshold(model, data.subset(range(20)), sensitivity=0.8)
    made = facts_of_model(model, data.subset(range(20, 40)))
    text = Page(page(made)).text
    assert "The threshold was chosen for sensitivity 0.8, on 20 other examples" in text
    own = f"{made.report.threshold:.4g} yes"
    assert own in text


def test_a_model_alone_and_other_tasks_have_a_page():
    model = small_classifier(("a", "b", "c"), learnt=True)
    data = kerastl.ImageSet(pixels(9), np.arange(9) % 3, ("a", "b", "c"))
    read = Page(page(facts_of_model(model, data)))
    assert "training" in read.ids or "phases" not in read.text
    numbers = kerastl.build_regressor(
        small_network(), [1.0, 2.0, 4.0], names=["age"], preprocessing="tf"
    )
    ages = kerastl.ImageSet(pixels(6), np.arange(6.0), target_names=("age",))
    read = Page(page(facts_of_model(numbers, ages)))
    assert "pictures" in read.ids
    assert "confusion" not in read.ids


def test_where_all_is_right_it_says_so():
    model = drawn(small_classifier(("a", "b", "c")))
    images = pixels(9)
    labels = outputs(model, images).argmax(axis=1)
    data = kerastl.ImageSet(images, labels, ("a", "b", "c"))
    assert "None: all 9 are right." in Page(page(facts_of_model(model, data))).text


def test_the_card_has_the_head_that_hubs_read(facts):
    lines = card(facts).splitlines()
    assert lines[0] == "---"
    assert "- accuracy" in lines[: lines.index("---", 1)]
    for title in ("Model details", "Intended use", "Evaluation", "Training", "Caveats"):
        assert f"## {title}" in lines


def test_a_run_that_is_none_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="a run or a model's file"):
        read_run(tmp_path)


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@needs_browser
def test_a_browser_shows_it_without_an_error(written, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(written[0], encoding="utf-8")
    script = """
    const images=[...document.images];
    const asked=performance.getEntriesByType("resource").map(e=>e.name);
    return {blank:images.filter(i=>!i.naturalWidth).length,images:images.length,
    asked:asked.filter(n=>!n.startsWith("data:")),wide:document.documentElement.scrollWidth,
    shown:document.documentElement.clientWidth}"""
    for width in (1100, 320):
        found, console = dumped(path, script, width)
        assert console == []
        assert found["blank"] == 0
        assert found["images"] > 10
        assert found["asked"] == []
        assert found["wide"] <= found["shown"]


@needs_browser
def test_sorting_and_links_do_what_the_data_say(written, facts, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(written[0], encoding="utf-8")
    script = """
    const table=document.querySelector("#classes table");
    const heads=[...table.querySelectorAll("th")];
    heads.find(h=>h.textContent==="recall").click();
    const first=table.tBodies[0].rows[0].cells[0].textContent;
    const link=document.querySelector("#confusion td.wrong a");
    location.hash=link.getAttribute("href");
    dispatchEvent(new HashChangeEvent("hashchange"));
    const cell=document.getElementById(location.hash.slice(1));
    return {first,open:cell.open,pictures:cell.querySelectorAll("img").length,
    names:[...cell.querySelectorAll("figcaption")].map(c=>c.textContent),
    id:cell.id}"""
    found, console = dumped(path, script)
    assert console == []
    worst = min(facts.report.per_class, key=lambda row: row.recall)
    assert found["first"] == worst.name
    assert found["open"]
    i, j = int(found["id"][5]), int(found["id"][7])
    truth, given = facts.targets, facts.predictions.indices
    places = np.flatnonzero((truth == i) & (given == j))
    assert found["names"] == [facts.name_of(p) for p in places][:6]
    assert found["pictures"] == len(found["names"])


@needs_browser
def test_on_paper_it_is_dark_on_white_whatever_the_screen(written, tmp_path):
    colours = "[getComputedStyle(document.body).color, "
    colours += "getComputedStyle(document.body).backgroundColor].join(' ')"
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    path = tmp_path / "report.html"
    path.write_text(written[0], encoding="utf-8")
    with browsing(tmp_path / "browser") as tab:
        tab.open(path.as_uri())
        light = tab.run(colours)
        tab.send("Emulation.setEmulatedMedia", media="screen", features=dark)
        assert tab.run(colours) != light
        tab.send("Emulation.setEmulatedMedia", media="print", features=dark)
        assert tab.run(colours) == light
