"""A service that needs keys, and clients with some of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from service.access.audit import check_audit, read_audit
from service.access.keys import SCOPES, Scope, make_key
from service.app import create_app
from service.galleries.folder import TENANTS
from service.settings import Settings
from tests.api.world import features, running

ROWS = features(4)
EVERYTHING = list(SCOPES)


class World:
    """A service with keys, and clients with some of them."""

    def __init__(self, app: FastAPI, data: Path) -> None:
        self.app, self.data, self.keys = app, data, data / "keys.json"
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def client(self, key: str | None, header: str = "x-api-key") -> httpx.AsyncClient:
        headers = {} if key is None else {header: key if header == "x-api-key" else f"Bearer {key}"}
        return httpx.AsyncClient(transport=self._transport, base_url="http://facebridge", headers=headers)

    def key(self, *scopes: Scope, tenant: str = "default", **more: Any) -> str:
        name = f"key {len(self.keys.read_text()) if self.keys.exists() else 0}"
        made = make_key(self.keys, name, scopes or EVERYTHING, tenant=tenant, **more).text
        self.look()
        return made

    def look(self) -> None:
        """At the file of keys, and not in a second."""
        self.app.state.services.ring._look()

    def audit(self, tenant: str = "default") -> list[dict[str, Any]]:
        folder = self.data if tenant == "default" else self.data / TENANTS / tenant
        self.app.state.tenants._open[tenant].services.audit.record({"what": "seen"}).result(10)
        assert check_audit(folder / "audit").num_entries
        return [entry for entry in read_audit(folder / "audit") if "what" not in entry]


@asynccontextmanager
async def keyed(bundles: Path, data: Path, **settings: Any) -> AsyncIterator[World]:
    """One that runs, with a key that nobody uses."""
    make_key(data / "keys.json", "first", ["metrics"])
    app = create_app(Settings(bundles=bundles, data=data, device="cpu", **settings))
    async with running(app):
        yield World(app, data)


async def people(client: httpx.AsyncClient, name: str = "people") -> str:
    """A gallery with templates; the id of one of them."""
    assert (await client.post("/galleries", json={"name": name, "space": "a"})).status_code == 201
    templates = [{"subject": f"s{number}", "feature": row.tolist()} for number, row in enumerate(ROWS)]
    answer = await client.post(f"/galleries/{name}/templates", json={"space": "a", "templates": templates})
    assert answer.status_code == 201, answer.text
    template_id: str = answer.json()["template_ids"][0]
    return template_id


def probe(gallery: str = "people") -> dict[str, Any]:
    return {"gallery": gallery, "probe": {"space": "a", "feature": ROWS[0].tolist()}, "top_k": 1}
