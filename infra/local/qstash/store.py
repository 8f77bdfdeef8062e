"""What survives a restart: JSON documents by kind and id, written through to one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Document = dict[str, Any]


class Store:
    """A no-op without a path: the server then forgets everything when it stops."""

    def __init__(self, path: Path | None) -> None:
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # messages, the token and the signing keys
        self._database = sqlite3.connect(path, isolation_level=None)
        # WAL with NORMAL outlives a killed process; only a power cut may lose the last writes.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (kind TEXT, id TEXT, document TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )

    def put(self, kind: str, key: str, document: Document) -> None:
        """Write or replace."""
        if self._database is not None:
            self._database.execute(
                "INSERT INTO documents VALUES (?, ?, ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document",
                (kind, key, json.dumps(document)),
            )

    def delete(self, kind: str, key: str) -> None:
        """Forget; nothing happens if it is unknown."""
        if self._database is not None:
            self._database.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, key))

    def load(self, kind: str) -> list[Document]:
        """Every document of a kind."""
        if self._database is None:
            return []
        rows = self._database.execute(
            "SELECT document FROM documents WHERE kind = ? ORDER BY id", (kind,)
        )
        return [json.loads(row[0]) for row in rows]

    def close(self) -> None:
        """Release the file."""
        if self._database is not None:
            self._database.close()
            self._database = None
