"""Custody of galleries: erase subjects with receipts, take snapshots and put them back, check what is kept."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from service.entities import Check, Erased, Gallery, Once, Snapshot
from service.galleries.port import GalleryStore
from service.galleries.rules import timestamp
from service.usecases.galleries import KeepGalleries
from service.usecases.receipts import Signer


class Custody:
    """The verbs."""

    def __init__(self, store: GalleryStore, galleries: KeepGalleries, signer: Signer) -> None:
        self._store = store
        self._galleries = galleries
        self._signer = signer

    async def erase(self, name: str, subjects: Sequence[str], *, once: Once | None = None) -> list[dict[str, Any]]:
        """A signed receipt for each subject, when nothing of them is left. Raises `NotFoundError`, `StorageError`."""
        receipts: list[dict[str, Any]] = []

        def told(erased: list[Erased]) -> list[dict[str, Any]]:
            # Once: a receipt that is asked for again is the same.
            if not receipts:
                receipts.extend(self._receipt(name, one) for one in erased)
            return receipts

        erased = await asyncio.to_thread(self._store.erase, name, subjects, once=once and once.through(told))
        return told(erased)

    async def take_snapshot(self, name: str, *, once: Once | None = None) -> Snapshot:
        """Raises `NotFoundError`, `StorageError`."""
        return await asyncio.to_thread(self._store.take_snapshot, name, once=once)

    async def snapshots(self, name: str) -> list[Snapshot]:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.snapshots, name)

    async def verify_snapshot(self, name: str, snapshot_id: str) -> Snapshot:
        """Raises `NotFoundError`, `SnapshotCorruptError`."""
        return await asyncio.to_thread(self._store.verify_snapshot, name, snapshot_id)

    async def remove_snapshot(self, name: str, snapshot_id: str, *, once: Once | None = None) -> None:
        """Raises `NotFoundError`."""
        await asyncio.to_thread(self._store.remove_snapshot, name, snapshot_id, once=once)

    async def restore(self, name: str, snapshot_id: str, *, once: Once | None = None) -> Gallery:
        """Raises `NotFoundError`, `SnapshotCorruptError`, `GenerationChangedError`."""
        gallery = await asyncio.to_thread(self._store.restore, name, snapshot_id, once=once)
        # It is put back, whatever becomes of searches from other spaces.
        await asyncio.to_thread(self._galleries.index_as_can_be, gallery)
        return gallery

    async def check(self, name: str) -> list[Check]:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.check, name)

    def _receipt(self, gallery: str, erased: Erased) -> dict[str, Any]:
        facts = asdict(erased)
        subject = facts.pop("subject")
        return self._signer.sign({"kind": "erasure", "gallery": gallery, "erased_at": timestamp(), **facts}, subject)
