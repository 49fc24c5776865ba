"""What a snapshot says of itself."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from models.documents import canonical_json
from service.errors import SnapshotCorruptError, StorageError
from service.files import write_whole
from service.galleries.schema import Moment

MANIFEST = "manifest.json"
_GONE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is of."""

    schema: int
    record: str
    """Which record it was taken from: there, templates keep their numbers when it is put back."""
    gallery: str
    created_at: str
    generation: int
    taken_at: str
    run: str
    op: int
    """The last operation before it, and the run of the service in which it was taken."""
    num_templates: int
    num_subjects: int
    sha256: str
    """Of the rows."""

    @property
    def taken_at_ms(self) -> int:
        """As the record counts time."""
        return int(datetime.fromisoformat(self.taken_at).timestamp() * 1000)

    @property
    def moment(self) -> Moment:
        """Of its record's history."""
        return Moment(self.run, self.op)

    @property
    def rows(self) -> str:
        """The name of their file."""
        return f"{self.sha256[:16]}.sqlite3"


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Into the folder of its snapshot. Raises `OSError`."""
    document = asdict(manifest)
    digest = hashlib.sha256(canonical_json(document)).hexdigest()
    write_whole(path / MANIFEST, canonical_json(document | {"manifest_sha256": digest}))


def read_manifest(path: Path) -> Manifest:
    """Raises `SnapshotCorruptError`, `StorageError` where the disk does not let it be read."""
    try:
        data = (path / MANIFEST).read_bytes()
        document = json.loads(data)
        digest = document.pop("manifest_sha256")
        is_whole = canonical_json(document | {"manifest_sha256": digest}) == data
        if is_whole and hashlib.sha256(canonical_json(document)).hexdigest() == digest:
            return Manifest(**document)
    except (*_GONE, ValueError, KeyError, TypeError, AttributeError):
        pass
    except OSError as failure:
        raise cannot_be_read(failure) from None
    raise SnapshotCorruptError("the manifest of the snapshot is not what was written")


def cannot_be_read(failure: OSError) -> SnapshotCorruptError | StorageError:
    """What is told of a file of a snapshot: that it is gone, or that it may be sound."""
    if isinstance(failure, _GONE):
        return SnapshotCorruptError("the snapshot cannot be read")
    return StorageError(f"the snapshot cannot be read now ({failure.strerror})")
