"""Choose the questions of `kerastl/questions` from a copy of Banking77.

    python data/make_questions.py BANKING77

`BANKING77` holds `train.csv` and `test.csv` as they were published.
"""

import csv
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parents[1] / "kerastl" / "questions"
TOPICS = (
    "cancel_transfer",
    "card_arrival",
    "card_delivery_estimate",
    "card_not_working",
    "change_pin",
    "declined_card_payment",
    "exchange_rate",
    "lost_or_stolen_card",
    "pin_blocked",
    "top_up_failed",
)
COUNTS = {"train": 50, "test": 20}
LONGEST = 140


def main(source: Path) -> None:
    """Write the table."""
    HERE.mkdir(exist_ok=True)
    seen: set[str] = set()
    rows = []
    for part, count in COUNTS.items():
        with (source / f"{part}.csv").open(encoding="utf-8", newline="") as stream:
            read = [
                (" ".join(row["text"].split()), row["category"])
                for row in csv.DictReader(stream)
            ]
        for number, topic in enumerate(TOPICS):
            mine = [text for text, of in read if of == topic and len(text) <= LONGEST]
            order = np.random.default_rng([0, number]).permutation(len(mine))
            kept = 0
            for place in order:
                same = "".join(c for c in mine[place].lower() if c.isalnum())
                if same not in seen and kept < count:
                    seen.add(same)
                    rows.append((mine[place], topic.replace("_", " "), part))
                    kept += 1
            if kept < count:
                raise SystemExit(f"{topic}: {kept} of {count} in {part}")
    with (HERE / "questions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("question", "topic", "part"))
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
