"""`kerastl cache`: the features kept on disk between runs, listed or cleared."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kerastl._checks import fail
from kerastl.cli.printing import json_line, table

if TYPE_CHECKING:
    from kerastl.features.store import CacheEntry, DiskCache


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "cache",
        help="list or clear the features kept on disk",
        description=__doc__,
    )
    command.add_argument(
        "action",
        metavar="ACTION",
        nargs="?",
        choices=("list", "clear"),
        default="list",
        help="list (when left out) or clear",
    )
    command.add_argument(
        "--folder",
        metavar="F",
        help="where the cache is; otherwise in the environment variable KERASTL_CACHE, "
        "or kerastl/features in Keras's own folder",
    )
    command.add_argument(
        "--older-than",
        type=float,
        metavar="DAYS",
        help="clear only what was not used for so many days",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object as the last line on standard output",
    )
    return command


def run(arguments: argparse.Namespace) -> str:
    """List or clear, and return the table or what was freed."""
    from kerastl.features.store import DiskCache

    cache = DiskCache(arguments.folder)
    days = arguments.older_than
    if arguments.action == "list":
        if days is not None:
            fail("older_than", "given together with clear", days)
        return listing(cache, arguments.json)
    if days is not None and not days >= 0:
        fail("older_than", "a number of days of at least 0", days)
    freed = cache.clear(older_than_days=days)
    if arguments.json:
        return json_line({"folder": str(cache.folder), "freed": freed})
    return f"freed {size_text(freed)} in {cache.folder}"


def listing(cache: "DiskCache", as_json: bool) -> str:
    """All entries with their total and the limit."""
    entries = cache.entries()
    total = sum(entry.bytes for entry in entries)
    if as_json:
        return json_line(
            {
                "folder": str(cache.folder),
                "limit": cache.limit,
                "bytes": total,
                "entries": [entry_record(entry) for entry in entries],
            }
        )
    summary = f"{size_text(total)} of at most {size_text(cache.limit)}"
    return f"{table([entry_row(e) for e in entries])}\n{summary} in {cache.folder}"


def entry_record(entry: "CacheEntry") -> dict[str, Any]:
    """An entry for JSON, with its times in UTC."""
    return {
        **entry.note,
        "key": entry.key,
        "bytes": entry.bytes,
        "created": datetime.fromtimestamp(entry.created, UTC).isoformat(),
        "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(),
        "damaged": entry.damaged,
    }


def entry_row(entry: "CacheEntry") -> dict[str, Any]:
    """An entry as a row of the table, with local times."""
    return {
        "key": entry.key[:12],
        "size": size_text(entry.bytes),
        "made": local_time(entry.created),
        "last_used": local_time(entry.last_used),
        "network": "(damaged)" if entry.damaged else entry.note.get("network"),
        "cut": entry.note.get("cut"),
        "images": entry.note.get("images"),
    }


def local_time(seconds: float) -> str:
    """A time as people write it, to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def size_text(size: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
