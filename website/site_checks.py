"""What holds for the built site: names are found, nothing comes from elsewhere."""

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

#: Elements that load what they name as soon as the page is shown.
_LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
}
_FOREIGN = re.compile(r"(?:https?:)?//")
_IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")
#: Links that say something about a page and load nothing.
_IDLE = {"canonical", "next", "prev", "alternate"}


class _Loaded(HTMLParser):
    """The addresses on other hosts that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given = {name: value or "" for name, value in attrs}
        address = given.get(_LOADS.get(tag, ""), "")
        if _FOREIGN.match(address) and given.get("rel") not in _IDLE:
            self.foreign.append(address)


def foreign_loads(site: Path) -> list[str]:
    """What pages and styles load from other hosts, as `file: address`.

    Args:
        site: Folder of the built site.
    """
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            page = _Loaded()
            page.feed(path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(site)}: {each}" for each in page.foreign]
        elif path.suffix == ".css":
            styles = path.read_text(encoding="utf-8")
            found += [
                f"{path.relative_to(site)}: {each}"
                for each in _IN_STYLES.findall(styles)
            ]
    return found


def names_not_found(site: Path, names: Iterable[str]) -> list[str]:
    """The public names that are no title in the index of the site's search.

    Args:
        site: Folder of the built site.
        names: Names below `kerastl`, such as `plots.history`.
    """
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    titles = {re.sub(r"<[^>]+>", "", each["title"]) for each in index["docs"]}
    return [name for name in names if f"kerastl.{name}" not in titles]
