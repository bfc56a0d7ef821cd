"""Fail when a committed text names a package index or a machine's path, or a file or folder has outgrown its room:

python scripts/repo/check_tree.py
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Written in pieces, so that this file does not find itself.
REGISTRY = "|".join(
    [
        r"pypi\." + "org",
        "python" + "hosted",
        r"piwheels\." + "org",
        r"download\.py" + "torch",
        r"deb\.deb" + "ian",
    ]
)
MACHINE = r"(?<![\w./])/(?:ro" + r"ot|wo" + r"rk|home/[a-z]\w+|Us" + r"ers)/[\w.]|index-url[ =]http"
FORBIDDEN = re.compile(f"{REGISTRY}|{MACHINE}")
# A test that takes a helper from another test cannot be read, moved or split alone.
BORROWED = re.compile(r"^\s*(?:from|import) tests\.(?!support\b)", re.MULTILINE)
MOST_LINES, MOST_FILES = 400, 16
TABLES = ("device/config.py",)  # one line a setting
NOT_COUNTED = ("__init__.py", "__main__.py", "conftest.py")


def offences(root: Path) -> list[str]:
    """List `file:line: text` of every tracked text line that must not be there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True).stdout
    found = []
    for name in filter(None, names.decode().split("\0")):
        try:
            lines = (root / name).read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
        hits = [(number, line) for number, line in enumerate(lines, 1) if FORBIDDEN.search(line)]
        found += [f"{name}:{number}: {line.strip()[:120]}" for number, line in hits]
    return found


def outgrown(root: Path) -> list[str]:
    """List Python files and folders that are too large, and tests that borrow from other tests."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=root, check=True, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if (root / name).is_file()]
    found, folders = (
        [],
        Counter(str(Path(name).parent) for name in files if Path(name).name not in NOT_COUNTED),
    )
    for name in files:
        text = (root / name).read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MOST_LINES and name not in TABLES:
            found.append(
                f"{name}: {lines} lines, expected at most {MOST_LINES}: split it by what it is about"
            )
        if name.startswith("tests/") and BORROWED.search(text):
            found.append(f"{name}: takes a helper from another test: put it into tests/support")
    return found + [
        f"{folder}: {count} Python files, expected at most {MOST_FILES}: give some a folder of their own"
        for folder, count in folders.items()
        if count > MOST_FILES
    ]


if __name__ == "__main__":
    argparse.ArgumentParser(prog="check_tree.py", description=__doc__.partition(":\n")[0]).parse_args()
    listed = offences(ROOT) + outgrown(ROOT)
    print("\n".join(listed) or "no package index, no machine path, nothing outgrown in the tree")
    sys.exit(bool(listed))
