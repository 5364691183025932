"""A worked lesson as a page: text, code, what it printed, figures as files."""

import base64
import html
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

#: What is folded away, and the words on the fold.
FOLDED = {
    "plumbing": "Code that you need not read",
    "solution": "A solution",
    "check": "The check",
}
_FIGURE = re.compile(r'src="data:image/(?P<kind>\w+);base64,(?P<data>[^"]+)"')


@dataclass
class LessonPage:
    """A lesson's page.

    Attributes:
        name: Name of the notebook without its ending.
        text: The page, in Markdown.
        figures: File name to bytes, for the folder `figures` beside the page.
    """

    name: str
    text: str = ""
    figures: dict[str, bytes] = field(default_factory=dict)

    def add(self, text: str, fold: str = "") -> None:
        """Put a block at the end, under a fold where it has a title."""
        if fold:
            text = f'<details markdown="1"><summary>{fold}</summary>\n\n{text}\n\n'
            text += "</details>"
        self.text += f"{text}\n\n"

    def picture(self, found: re.Match) -> str:
        """Keep a picture as a file, and point at it."""
        kind = found["kind"]
        name = f"{self.name[:2]}_{len(self.figures) + 1}.{kind}"
        self.figures[name] = base64.b64decode(found["data"])
        return f'loading="lazy" src="../figures/{name}"'


def render(path: Path) -> LessonPage:
    """The page of one worked notebook, which is read and not run.

    Args:
        path: A file such as `solutions/01_what_and_why.ipynb`.
    """
    page = LessonPage(path.stem)
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        tags = cell["metadata"].get("tags", [])
        # The badge is a picture of another host; the cell it names installs on Colab.
        if "install" in tags or source.startswith("[![") or not source:
            continue
        if cell["cell_type"] == "markdown":
            # Without the attribute, text inside HTML stays as it was typed.
            page.add(source.replace("<details>", '<details markdown="1">'))
            continue
        folds = [title for tag, title in FOLDED.items() if tag in tags]
        page.add(fenced(source, "python"), *folds)
        # A guess comes before its answer on a page too.
        answer = (
            "The answer, once you have guessed" if "teach.reveal(" in source else ""
        )
        for output in cell["outputs"]:
            page.add(shown(output, page), answer)
    opening, _, rest = page.text.partition("\n")
    page.text = f"{opening}\n\n[The notebook]({path.name}), to run it.\n{rest}"
    return page


def fenced(text: str, language: str = "text") -> str:
    """A block of code, with a fence that nothing in it closes."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence} {language}\n{text.rstrip()}\n{fence}"


def shown(output: dict, page: LessonPage) -> str:
    """What one output of a cell shows."""
    if output["output_type"] == "stream":
        text = fenced("".join(output["text"]))
    else:
        data = output["data"]
        if "text/html" in data:
            text = _FIGURE.sub(page.picture, "".join(data["text/html"]))
        else:
            text = f"<pre>{html.escape(''.join(data['text/plain']))}</pre>"
        return f'<div class="output">{text}</div>'
    return f'<div class="output" markdown="1">\n\n{text}\n\n</div>'
