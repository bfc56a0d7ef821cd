"""A gallery's content as plain values, for a backup that is encrypted as a whole: every table, its seals opened."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Collection
from typing import Any

from sqlite_utils import Database

from device.gallery.seal import GallerySeal

Dump = dict[str, Any]  # {"tables": {name: [row, ...]}}, rows as JSON takes them
SUBJECT_COLUMNS = ("subject_id", "other_id")


def dump_tables(connection: sqlite3.Connection, seal: GallerySeal) -> Dump:
    """Return every row of every table but the history of the tables and the sealed state."""
    return {"tables": {table: _rows(connection, table, seal) for table in _tables(connection)}}


def restore_tables(db: Database, seal: GallerySeal, dump: Dump, leave_out: Collection[str]) -> None:
    """Put a dump in the place of all rows, without some subjects; the caller's transaction holds both."""
    known = _tables(db.conn)
    for table in reversed(known):
        db.table(table).delete_where()
    for table in known:
        rows = [row for row in dump["tables"].get(table, []) if not names(row) & set(leave_out)]
        db.table(table).insert_all(_sealed(row, table, seal) for row in rows)


def without(dump: Dump, subject_id: str) -> Dump:
    """Return a dump in which a subject does not occur."""
    tables = {
        table: [row for row in rows if subject_id not in names(row)] for table, rows in dump["tables"].items()
    }
    return {**dump, "tables": tables}


def names(row: dict[str, Any]) -> set[str]:
    """Return the subjects that a row is about."""
    return {row[column] for column in SUBJECT_COLUMNS if column in row}


def _tables(connection: sqlite3.Connection) -> list[str]:
    """List the tables, those that others refer to first."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    found = [row[0] for row in rows if not row[0].startswith(("sqlite_", "_sqlite_")) and row[0] != "seal"]
    return sorted(found, key=lambda table: (table != "subjects", table))


def _rows(connection: sqlite3.Connection, table: str, seal: GallerySeal) -> list[dict[str, Any]]:
    cursor = connection.execute(f"SELECT * FROM [{table}] ORDER BY rowid")
    columns = [column[0] for column in cursor.description]
    return [_opened(dict(zip(columns, values, strict=True)), table, seal) for values in cursor]


def _opened(row: dict[str, Any], table: str, seal: GallerySeal) -> dict[str, Any]:
    sealed = row.pop("sealed", None)
    if table == "templates":
        embedding = seal.open_template(sealed, row["subject_id"], row["model_id"])
        return {**row, "embedding": base64.b64encode(embedding).decode()}
    if table == "profiles":
        return {**row, "profile": seal.open_profile(sealed, row["subject_id"])}
    return row


def _sealed(row: dict[str, Any], table: str, seal: GallerySeal) -> dict[str, Any]:
    if table == "templates":
        embedding = base64.b64decode(row["embedding"])
        sealed = seal.seal_template(embedding, row["subject_id"], row["model_id"])
        return {**{k: v for k, v in row.items() if k != "embedding"}, "sealed": sealed}
    if table == "profiles":
        return {
            "subject_id": row["subject_id"],
            "sealed": seal.seal_profile(row["profile"], row["subject_id"]),
        }
    return row


def dump_to_bytes(dump: Dump) -> bytes:
    return json.dumps(dump).encode()


def dump_from_bytes(data: bytes) -> Dump:
    return json.loads(data)
