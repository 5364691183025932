"""The site's own code: lessons as pages, and the checks that can refuse a build."""

import base64
import json
import re
from pathlib import Path

import lesson_pages
import pytest
import site_checks

import kerastl

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
PNG = base64.b64encode(b"picture").decode()


def notebook(path, *cells):
    path.write_text(json.dumps({"cells": [*cells]}), encoding="utf-8")
    return path


def text_cell(text):
    return {"cell_type": "markdown", "metadata": {}, "source": [text]}


def code_cell(code, *outputs, tags=()):
    return {
        "cell_type": "code",
        "metadata": {"tags": [*tags]},
        "source": [code],
        "outputs": [*outputs],
    }


def printed(text):
    return {"output_type": "stream", "text": [text]}


def page_of(folder, *cells):
    title = text_cell("# 01 Lesson")
    return lesson_pages.render(notebook(folder / "01_x.ipynb", title, *cells))


def test_a_lesson_is_its_text_its_code_and_what_it_printed(tmp_path):
    page = page_of(
        tmp_path, text_cell("Some *text*."), code_cell("x = 1", printed("1"))
    )
    title, link, text, code, output = page.text.split("\n\n", 4)
    assert (title, text) == ("# 01 Lesson", "Some *text*.")
    assert link == "[The notebook](01_x.ipynb), to run it."
    assert code == "``` python\nx = 1\n```"
    assert "``` text\n1\n```" in output


def test_figures_become_files(tmp_path):
    figure = f'<figure><img alt="two bars" src="data:image/png;base64,{PNG}"></figure>'
    shown = {"output_type": "display_data", "data": {"text/html": [figure]}}
    page = page_of(tmp_path, code_cell("plot()", shown))
    assert page.figures == {"01_1.png": b"picture"}
    assert 'alt="two bars"' in page.text
    assert 'src="../figures/01_1.png"' in page.text
    assert "base64" not in page.text


@pytest.mark.parametrize("tag", lesson_pages.FOLDED)
def test_what_spoils_an_exercise_is_folded(tmp_path, tag):
    page = page_of(tmp_path, code_cell("y = 2", tags=[tag]))
    folded = re.search(r"<summary>(.*?)</summary>(.*?)</details>", page.text, re.S)
    assert folded[1] == lesson_pages.FOLDED[tag]
    assert "y = 2" in folded[2]


def test_an_answer_is_folded_and_its_code_is_not(tmp_path):
    page = page_of(tmp_path, code_cell('teach.reveal("01.a", 3)', printed("it is 3")))
    code, answer = page.text.split("<details")
    assert "teach.reveal" in code
    assert "it is 3" in answer


def test_badges_and_install_cells_are_left_out(tmp_path):
    badge = text_cell("[![Open](https://example.org/badge.svg)](https://example.org)")
    page = page_of(tmp_path, badge, code_cell("install()", tags=["install"]))
    assert "example.org" not in page.text
    assert "install()" not in page.text


def test_a_fence_in_an_output_ends_no_block():
    assert lesson_pages.fenced("a\n```\nb").startswith("```` text\n")
    assert lesson_pages.fenced("a\n```\nb").endswith("\n````")


def test_every_lesson_has_a_page_of_sane_weight():
    students = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert [path.name for path in LESSONS] == students
    for path in LESSONS:
        page = lesson_pages.render(path)
        assert page.text.startswith(f"# {path.name[:2]} ")
        assert page.figures
        assert len(page.text) < 150_000
        assert sum(map(len, page.figures.values())) < 1_000_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://e.org/x.js"></script>'),
        ("a.html", '<link rel="stylesheet" href="//e.org/x.css">'),
        ("a.html", '<p><img alt="" src="http://e.org/x.png"></p>'),
        ("a.css", "@font-face { src: url( https://e.org/x.woff) }"),
        ("a.css", '@import "https://e.org/x.css";'),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    [found] = site_checks.foreign_loads(tmp_path)
    assert found.startswith(f"{name}: ")
    assert "e.org/x." in found


def test_links_and_own_files_are_not_loaded_from_elsewhere(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="https://e.org">there</a><img src="a.png"><script src="../x.js">'
        '</script><link rel="canonical" href="https://e.org/a">'
    )
    (tmp_path / "a.css").write_text("p { background: url(data:image/png;base64,AA) }")
    assert site_checks.foreign_loads(tmp_path) == []


def test_names_that_the_search_misses_are_said(tmp_path):
    (tmp_path / "search").mkdir()
    docs = [{"title": "<code>kerastl.plots.history</code>"}, {"title": "history"}]
    index = tmp_path / "search" / "search_index.json"
    index.write_text(json.dumps({"docs": docs}), encoding="utf-8")
    names = ["plots.history", "history"]
    assert site_checks.names_not_found(tmp_path, names) == ["history"]


def test_the_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {kerastl.__version__}\n" in text
