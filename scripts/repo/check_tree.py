"""Fail when a committed text names a package index or a machine's path: python scripts/repo/check_tree.py"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
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


if __name__ == "__main__":
    argparse.ArgumentParser(prog="check_tree.py", description=__doc__).parse_args()
    listed = offences(ROOT)
    print("\n".join(listed) or "no package index and no machine path in the tree")
    sys.exit(bool(listed))
