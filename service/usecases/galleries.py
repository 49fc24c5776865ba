"""Keeping galleries: make, show, list, page through, remove from, drop."""

import asyncio
import logging
from collections.abc import Iterable

from service.entities import Gallery, IndexKind, Once, RouteStep, Template
from service.errors import FacebridgeError, InvalidInputError
from service.galleries.port import GalleryStore, TemplatePage
from service.inference.inference import Inference

log = logging.getLogger("facebridge.galleries")


class KeepGalleries:
    """Calls of the store that block are made on worker threads."""

    def __init__(self, inference: Inference, store: GalleryStore) -> None:
        self._inference = inference
        self._store = store

    async def create(
        self, name: str, space: str, *, index: IndexKind | None = None, once: Once | None = None
    ) -> Gallery:
        """Make an empty gallery in a known space. Raises `AlreadyExistsError`, `InvalidInputError`."""
        found = self._inference.catalog.find_space(space)
        if found is None:
            raise InvalidInputError("a gallery needs a space that is known here; see /spaces")
        gallery = await asyncio.to_thread(self._store.create, name, found, index=index, once=once)
        await self.index(gallery)
        return gallery

    async def index(self, gallery: Gallery) -> None:
        """Make a gallery searchable in the common spaces of its own. Raises `EngineError`."""
        for step in self._inference.catalog.common_steps(gallery.space):
            await asyncio.to_thread(self._ensure_index, gallery, step)

    def index_all(self) -> None:
        """Make every gallery searchable in the common spaces of its own; called once, before anything is asked.

        A gallery that cannot be projected is said in the log, and to whoever probes it from another space.
        """
        for gallery in self._store.list_galleries():
            self.index_as_can_be(gallery)

    def index_as_can_be(self, gallery: Gallery) -> None:
        """As `index`; what cannot be is said in the log."""
        for step in self._inference.catalog.common_steps(gallery.space):
            try:
                self._ensure_index(gallery, step)
            except FacebridgeError as failure:
                log.warning("%s", failure)

    def unknown_spaces(self, references: Iterable[str]) -> list[str]:
        """Which names and fingerprints are of no space that is known here, nor of a gallery's."""
        spaces = [*self._inference.catalog.spaces, *(gallery.space for gallery in self._store.list_galleries())]
        known = {name for space in spaces for name in (space.name, space.fingerprint)}
        return [one for one in references if one not in known]

    async def get(self, name: str) -> Gallery:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.get, name)

    async def list_all(self) -> list[Gallery]:
        """All galleries by name."""
        return await asyncio.to_thread(self._store.list_galleries)

    async def drop(self, name: str, *, once: Once | None = None) -> None:
        """Raises `NotFoundError`."""
        await asyncio.to_thread(self._store.drop, name, once=once)

    async def templates(self, name: str, *, after: int, limit: int, subject: str | None) -> TemplatePage:
        """A page of templates. Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.templates, name, after=after, limit=limit, subject=subject)

    async def template(self, name: str, template_id: str) -> Template:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.template, name, template_id)

    async def remove_template(self, name: str, template_id: str, *, once: Once | None = None) -> None:
        """Raises `NotFoundError`."""
        await asyncio.to_thread(self._store.remove_template, name, template_id, once=once)

    async def remove_subject(self, name: str, subject: str, *, once: Once | None = None) -> int:
        """How many templates were removed. Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.remove_subject, name, subject, once=once)

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` where nothing is written any more."""
        self._store.check_writable()

    def _ensure_index(self, gallery: Gallery, step: RouteStep) -> None:
        self._store.ensure_index(gallery.name, step.target, self._inference.projections(step.target))
