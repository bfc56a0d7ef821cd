"""The HTML of the pages: whole documents from plain values, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent  # of page.css and live.js
DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
{script}<title>{title}</title>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
# Of the ring: the arc of each direction as one sees it in the mirror, 100 units wide.
ARCS = {
    "straight": "M50 12 a38 38 0 1 0 .01 0",
    "left": "M17.5 17.5 A46 46 0 0 0 17.5 82.5",
    "right": "M82.5 17.5 A46 46 0 0 1 82.5 82.5",
    "up": "M22 13.7 A46 46 0 0 1 78 13.7",
    "down": "M22 86.3 A46 46 0 0 0 78 86.3",
}


def document(title: str, body: str, *, has_script: bool = True) -> str:
    """Return a whole page; `body` is HTML."""
    script = '<script src="/live.js" defer></script>\n' if has_script else ""
    return DOCUMENT.format(title=escape(title), body=body, script=script)


def entry(note: str = "") -> str:
    """Return the page on which a visitor shows the token; the script does it for who comes by the QR code."""
    said = f'<p class="stop" role="alert">{escape(note)}</p>\n' if note else ""
    body = f"""<h1>The door's camera</h1>
{said}<form id="entry" method="post" action="/enter">
<p><label for="token">The code that the terminal shows</label></p>
<p><input id="token" name="token" autocomplete="off" autocapitalize="characters" spellcheck="false" required></p>
<p><button>Enter</button></p>
</form>"""
    return document("The door's camera", body)


def notice(title: str, text: str) -> str:
    """Return a page that says one thing."""
    body = f'<h1>{escape(title)}</h1>\n<p role="alert">{escape(text)}</p>'
    return document(title, body, has_script=False)


def question(title: str, paragraphs: Iterable[str], *, yes: str, no: str) -> str:
    """Return the page that asks for consent, before any picture is taken."""
    said = "\n".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    body = f"""<h1>{escape(title)}</h1>
{said}
<form method="post" action="/answer">
<p><button name="answer" value="yes">{escape(yes)}</button>
<button name="answer" value="no" class="quiet">{escape(no)}</button></p>
</form>"""
    return document(title, body, has_script=False)


def view(
    title: str, *, poses: Sequence[tuple[str, str]], values: Mapping[str, str], stop: str, note: str = ""
) -> str:
    """Return the page with the picture.

    Args:
        poses: key of ARCS and what is asked for, in the order in which they are asked.
        values: key and name of what is measured.
        stop: the words of the button that ends it.
        note: what is said below all of it.
    """
    rows = "\n".join(
        f'<dt>{escape(name)}</dt><dd id="value-{escape(key)}">&ndash;</dd>' for key, name in values.items()
    )
    body = f"""<h1>{escape(title)}</h1>
<div class="live">
<figure>
<img id="view" width="480" height="360" alt="What the door's camera sees, mirrored">
{ring(key for key, _ in poses)}</figure>
<div>
<p id="hint" class="hint" aria-hidden="true">The camera starts.</p>
<p id="spoken" class="unseen" role="status"></p>
{listed(poses)}{f"<dl>{rows}</dl>" if rows else ""}
<form method="post" action="/answer">
<p><button name="answer" value="no" class="quiet">{escape(stop)}</button></p>
</form>
{f"<p>{escape(note)}</p>" if note else ""}
</div>
</div>
<noscript><p class="stop">The picture needs the page's script: allow it in the browser.</p></noscript>"""
    return document(title, body)


def ring(keys: Iterable[str]) -> str:
    """Return the ring around the face: one arc a direction."""
    arcs = "".join(f'<path id="arc-{key}" d="{ARCS[key]}"/>' for key in keys)
    return f'<svg id="ring" viewBox="0 0 100 100" aria-hidden="true">{arcs}</svg>\n' if arcs else ""


def listed(poses: Sequence[tuple[str, str]]) -> str:
    items = "\n".join(
        f'<li id="pose-{key}">{escape(name)} <span id="state-{key}"></span></li>' for key, name in poses
    )
    return f'<ol id="poses" aria-label="Poses">\n{items}\n</ol>\n' if items else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Return a table of texts; it says its roles, which some browsers forget where a style takes rows apart."""
    top = "".join(f'<th scope="col" role="columnheader">{escape(head)}</th>' for head in heads)
    lines = "\n".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-head="{escape(h)}">{escape(text)}</td>'
            for h, text in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    head = f'<caption>{escape(caption)}</caption>\n<thead role="rowgroup"><tr role="row">{top}</tr></thead>'
    return f'<table role="table">\n{head}\n<tbody role="rowgroup">\n{lines}\n</tbody>\n</table>'
