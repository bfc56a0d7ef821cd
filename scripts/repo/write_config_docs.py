"""Write the table of docs/owner/tune.md and systemd/config.example.toml from device/config.py:

python scripts/repo/write_config_docs.py            (--check only says whether they are up to date)
"""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from device.config import every_setting
from device.programs import Parser

BEGIN, END = "<!-- table: scripts/repo/write_config_docs.py -->", "<!-- end of table -->"
TUNE, EXAMPLE = ROOT / "docs/owner/tune.md", ROOT / "systemd/config.example.toml"
SERVICE_GALLERY = "/var/lib/face-unlock/gallery.db"
HEAD = """\
# Configuration of the service: copy to /etc/face-unlock/config.toml. docs/owner/tune.md says when to change what.
# Each line that begins with `#` and a key shows a default; take the `#` away to change it.
"""


def default_of(known: Field[Any]) -> Any:
    return known.default_factory() if known.default_factory is not MISSING else known.default


def as_toml(value: Any) -> str:
    return "{}" if value == {} else json.dumps(value)


def bounds(known: Field[Any]) -> str:
    """Say what a setting may be."""
    rule = known.metadata
    if rule["choices"]:
        return ", ".join(f"`{as_toml(choice)}`" for choice in rule["choices"])
    if rule["low"] is None:
        return {bool: "true, false", dict: "table", str: "text"}.get(rule["types"][-1], "number")
    unit = f" {rule['unit']}" if rule["unit"] else ""
    return f"{rule['low']:g} to {rule['high']:g}{unit}"


def table() -> str:
    """Return the Markdown table of all keys."""
    rows = ["| key | default | may be | meaning |", "|---|---|---|---|"]
    for name, known in every_setting():
        rows.append(
            f"| `{name}` | `{as_toml(default_of(known))}` | {bounds(known)} | {known.metadata['doc']} |"
        )
    return "\n".join(rows)


def example() -> str:
    """Return the service's configuration: every key as a comment, the gallery set."""
    lines, section = [HEAD], ""
    for name, known in every_setting():
        head, _, key = name.rpartition(".")
        if head != section:
            section = head
            lines.append(f"\n[{section}]")
        value = as_toml(default_of(known))
        lines.append(f"\n# {known.metadata['doc'].replace('`', '')} ({bounds(known).replace('`', '')})")
        lines.append(f'{key} = "{SERVICE_GALLERY}"' if name == "gallery" else f"# {key} = {value}")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """Put the table between the marks of docs/owner/tune.md."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write both files, or say which is out of date."""
    parser = Parser(prog="write_config_docs.py", description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file is out of date"
    )
    check = parser.parse_args(arguments).check
    wanted = {TUNE: with_table(TUNE.read_text(encoding="utf-8")), EXAMPLE: example()}
    old = [
        path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in old:
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
        print(
            f"{path.relative_to(ROOT)}: {'out of date: run scripts/repo/write_config_docs.py' if check else 'written'}"
        )
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
