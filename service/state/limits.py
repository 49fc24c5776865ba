"""How often a key may ask, in this process: rates in memory, and what was spent of a day in a small SQLite file."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from service.errors import StartupError

FILE = "limits.sqlite3"
BURST_SECONDS = 1.0
"""A key that was quiet may ask as often at once as in so long."""
DAY_SECONDS = 24 * 3600
WRITE_SECONDS, WRITE_PROBES = 1.0, 100
"""How long, and how many probes of a key, are counted in memory alone: a kill forgets fewer than that many."""
_SCHEMA = """CREATE TABLE IF NOT EXISTS spent (
    key_id TEXT PRIMARY KEY, day INTEGER NOT NULL, num INTEGER NOT NULL) WITHOUT ROWID"""


class EmbeddedLimits:
    """`Limits` of one process."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises `StartupError`."""
        path = folder / FILE
        self._lock, self._clock = threading.Lock(), clock
        self._unwritten: dict[str, int] = {}
        self._written = -WRITE_SECONDS
        self._due: dict[str, float] = {}
        """When the requests of a key would be over if they came evenly."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as failure:
            raise StartupError(f"{folder}: cannot be used as data folder ({failure.strerror})") from None
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            # What a broken machine forgets is some probes of one day; nobody waits for the disk.
            for pragma in ("journal_mode=WAL", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(_SCHEMA)
            with closing(self._db.execute("SELECT key_id, day, num FROM spent")) as rows:
                self._spent: dict[str, tuple[int, int]] = {key_id: (day, num) for key_id, day, num in rows}
        except (sqlite3.Error, OSError) as failure:
            if "locked" in str(failure):
                raise StartupError(
                    f"{folder}: another process uses this data folder; stop it or choose another"
                ) from None
            raise StartupError(f"{path}: cannot be used ({type(failure).__name__}); remove it") from None

    async def take_request(self, key_id: str, per_second: float) -> float:
        """See the port. Source: the generic cell rate algorithm (ITU-T I.371)."""
        now = time.monotonic()
        with self._lock:
            due = max(now, self._due.get(key_id, now)) + 1 / per_second
            too_early = due - now - max(BURST_SECONDS, 1 / per_second)
            if too_early > 0:
                return too_early
            self._due[key_id] = due
        return 0.0

    async def spend_probes(self, key_id: str, num: int, per_day: int) -> float:
        """See the port."""
        day, into = divmod(self._clock(), DAY_SECONDS)
        with self._lock:
            of_day, spent = self._spent.get(key_id, (0, 0))
            spent = spent if of_day == day else 0
            if spent + num > per_day:
                return DAY_SECONDS - into
            self._spent[key_id] = (int(day), spent + num)
            self._unwritten[key_id] = self._unwritten.get(key_id, 0) + num
            # Clocks are put back, too.
            is_long_ago = abs(self._clock() - self._written) >= WRITE_SECONDS
            if is_long_ago or self._unwritten[key_id] >= WRITE_PROBES:
                self._write()
        return 0.0

    async def close(self) -> None:
        """See the port."""
        with self._lock:
            self._write()
            self._db.close()

    def _write(self) -> None:
        """What was spent since it was written; where it cannot be, it holds until the next start."""
        rows = [(key_id, *self._spent[key_id]) for key_id in self._unwritten]
        self._written = self._clock()
        self._unwritten.clear()
        with suppress(sqlite3.Error):
            self._db.executemany("INSERT OR REPLACE INTO spent VALUES (?, ?, ?)", rows)
