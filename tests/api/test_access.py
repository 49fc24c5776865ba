"""Keys: who is let in, to what, how often; that tenants are apart; and that it is written down."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from service.access import audit
from service.access.audit import read_audit
from service.access.keys import SCOPES, make_key, revoke_key
from service.api.bodies import NPY
from service.api.scopes import CHANGING, NEEDS, OPEN
from service.app import create_app
from service.errors import StorageError
from service.galleries.folder import TENANTS
from service.settings import Settings
from tests.api.keyed import EVERYTHING, ROWS, World, keyed, people, probe
from tests.api.refusals import assert_clean
from tests.api.test_migrations import LOOSE, until
from tests.api.world import A, feature_set, npy, running


@pytest_asyncio.fixture(loop_scope="session")
async def world(bundles: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with keyed(bundles, tmp_path) as made:
        yield made


def test_every_route_stands_in_the_table_and_nothing_else(world: World) -> None:
    paths = world.app.openapi()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods if path not in OPEN}
    # A path that takes slashes is written in its own way.
    assert routes == {(method, path.replace(":path}", "}")) for method, path in NEEDS}
    assert set(NEEDS.values()) - {None} == set(SCOPES)
    assert set(SCOPES) >= CHANGING


READING = {None, "translate", "search", "vectors-read"}
"""What requests other than GET may need that change nothing."""


def test_whatever_changes_something_needs_a_scope_whose_entries_are_waited_for() -> None:
    assert {needed for (method, _), needed in NEEDS.items() if method != "GET"} - READING == CHANGING


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_whoever_has_a_key_is_let_in(world: World, header: str) -> None:
    async with world.client(world.key("search", "gallery-admin", "enrol"), header) as client:
        await people(client)
        assert (await client.post("/identify", json=probe())).json()["candidates"][0]["subject"] == "s0"


def wrong_headers(key: str) -> list[list[tuple[str, str]]]:
    secret = key[:-2] + ("AA" if key[-2:] != "AA" else "BB")
    return [
        [],
        [("x-api-key", "")],
        [("x-api-key", secret)],
        [("x-api-key", key), ("x-api-key", key)],
        [("x-api-key", key), ("authorization", f"Bearer {key}")],
        [("x-api-key", key), ("authorization", "Basic eDp5")],
        [("authorization", key)],
        [("authorization", f"Basic {key}")],
        [("authorization", "Bearer")],
        [("authorization", f"Bearer {key} {key}")],
        [("x-api-key", f"{key},{key}")],
        [("x-api-key", "\u00e9" * 40)],
    ]


@pytest.mark.parametrize("number", range(len(wrong_headers("x" * 9))))
async def test_nobody_else_is(world: World, number: int) -> None:
    given = [(name.encode(), value.encode("latin-1")) for name, value in wrong_headers(world.key())[number]]
    async with world.client(None) as client:
        answers = [
            await client.get("/spaces", headers=given),
            await client.post("/galleries", headers=given, content=b"{not json"),
            await client.get("/galleries/people/templates", headers=given),
            await client.delete("/galleries/people", headers=given),
            await client.get("/nothing/here", headers=given),
            await client.get("/metrics", headers=given),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:facebridge:problem:unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert_clean(answer)
    assert len({answer.text for answer in answers}) == 1


async def test_no_route_is_open_to_who_has_no_key(world: World) -> None:
    async with world.client(None) as client:
        for method, path in NEEDS:
            answer = await client.request(method, re.sub(r"{[^}]*}", "nothing", path))
            assert answer.status_code == 401, (method, path)


async def test_a_key_in_the_address_is_none(world: World) -> None:
    key = world.key()
    async with world.client(None) as client:
        assert (await client.get(f"/spaces?x-api-key={key}&api_key={key}")).status_code == 401


async def test_a_revoked_key_is_let_in_no_more(world: World) -> None:
    key = world.key()
    async with world.client(key) as client:
        assert (await client.get("/spaces")).status_code == 200
        revoke_key(world.keys, key.split("_")[1])
        # A second passes.
        world.app.state.services.ring._looked -= 1.0
        assert (await client.get("/spaces")).status_code == 401


async def test_what_needs_no_key_needs_none(world: World) -> None:
    async with world.client(None) as client:
        for path in sorted(OPEN - {"/docs/oauth2-redirect"}):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("place", sorted(NEEDS))
async def test_a_key_does_what_its_scopes_say(world: World, place: tuple[str, str]) -> None:
    method, path = place
    needed = NEEDS[place]
    path = re.sub(r"{[^}]*}", "nothing", path)
    without = world.key(*(scope for scope in SCOPES if scope != needed))
    async with world.client(without) as client:
        refused = await client.request(method, path)
    if needed is None:
        assert refused.status_code not in (401, 403)
        return
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:facebridge:problem:forbidden")
    assert refused.json()["detail"] == f"this key lacks the scope {needed}"
    async with world.client(world.key(needed)) as client:
        assert (await client.request(method, path)).status_code not in (401, 403)


async def _of_tenant(world: World, tenant: str) -> tuple[httpx.AsyncClient, dict[str, str]]:
    """A tenant with a gallery, and the ids of what is in it."""
    client = world.client(world.key(tenant=tenant))
    template_id = await people(client)
    snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
    started = await client.post("/galleries/people/migrations", json={"target": "b", "gates": LOOSE})
    job = started.json()["job_id"]
    await until(client, job, "ready")
    return client, {"template_id": template_id, "snapshot_id": snapshot, "job_id": job, "subject:path": "s0"}


BODIES: dict[str, Any] = {
    "/galleries/{gallery}/erasures": {"subjects": ["s0"]},
    "/galleries/{gallery}/templates": {"space": "a", "templates": [{"subject": "x", "feature": ROWS[0].tolist()}]},
    "/galleries/{gallery}/migrations": {"target": "b"},
    "/jobs/{job_id}/cutover": {"force": True},
    "/jobs/{job_id}/rollback": {},
    "/identify": probe("{gallery}"),
}


async def test_what_is_anothers_is_as_if_it_were_not(world: World) -> None:
    """Every route with another tenant's ids answers as with ids that nobody has."""
    owner, ids = await _of_tenant(world, "acme")
    stranger = world.client(world.key(tenant="other"))
    own_gallery = (await stranger.post("/galleries", json={"name": "own", "space": "a"})).status_code
    assert own_gallery == 201
    key_id = world.key(tenant="acme").split("_")[1]
    everything = ids | {"gallery": "people", "key_id": key_id}
    num = 0
    for (method, path), needed in NEEDS.items():
        if "{" not in path and path != "/identify":
            continue
        answers = []
        for known in (everything, dict.fromkeys(everything, "0123456789ab")):
            # In one's own gallery, where that is not what is asked for.
            others = known | ({"gallery": "own"} if path.count("{") > 1 else {})
            body = _filled(BODIES.get(path), others)
            sent: dict[str, Any] = {} if body is None else {"json": body}
            if path == "/galleries/{gallery}/restore":
                sent = {"json": {"snapshot": known["snapshot_id"]}}
                others = others | {"gallery": "own"}
            if path == "/jobs/{job_id}/probes":
                content = feature_set(A, ROWS, [f"s{number}" for number in range(len(ROWS))])
                sent = {"content": content, "headers": {"content-type": "application/x-npz"}}
            answers.append(await stranger.request(method, _filled(path, others), **sent))
        one, other = answers
        assert (one.status_code, one.text) == (other.status_code, other.text), (method, path, one.text, other.text)
        assert one.status_code == 404, (method, path, needed, one.text)
        num += 1
    assert num == 29
    assert [one["name"] for one in (await stranger.get("/galleries")).json()["galleries"]] == ["own"]
    assert (await stranger.get("/jobs")).json()["jobs"] == []
    # What a stranger asked about is theirs to know.
    entries = [{**entry, "of_key": None} for entry in (await stranger.get("/audit")).json()["entries"]]
    assert key_id not in json.dumps(entries)
    assert key_id not in (await stranger.get("/keys")).text
    # And nothing of it was done.
    assert (await owner.get("/galleries/people")).json()["num_templates"] == len(ROWS)
    assert (await owner.get(f"/jobs/{ids['job_id']}")).json()["state"] == "ready"
    assert (await owner.get(f"/galleries/people/snapshots/{ids['snapshot_id']}")).status_code == 200
    assert (await owner.get("/keys")).json()["keys"][-1]["revoked_at"] is None
    await owner.aclose()
    await stranger.aclose()


def _filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, own in known.items():
            value = value.replace(f"{{{name}}}", own)
        return value
    if isinstance(value, dict):
        return {name: _filled(inner, known) for name, inner in value.items()}
    return value


async def test_galleries_of_one_name_are_each_tenants_own(world: World) -> None:
    clients = [world.client(world.key(tenant=tenant)) for tenant in ("default", "acme")]
    for number, client in enumerate(clients):
        await client.post("/galleries", json={"name": "people", "space": "a"})
        templates = [{"subject": f"of {number}", "feature": ROWS[0].tolist()}]
        await client.post("/galleries/people/templates", json={"space": "a", "templates": templates})
    found = [(await client.post("/identify", json=probe())).json()["candidates"] for client in clients]
    assert [[one["subject"] for one in candidates] for candidates in found] == [["of 0"], ["of 1"]]
    scraped = (await clients[0].get("/metrics")).text
    for tenant in ("default", "acme"):
        assert f'facebridge_gallery_templates{{gallery="people",tenant="{tenant}"}} 1.0' in scraped
    # An erasure of one looks through its own files, and leaves the other's alone.
    erased = await clients[0].post("/galleries/people/erasures", json={"subjects": ["of 0"]})
    assert erased.status_code == 200, erased.text
    assert (await clients[1].get("/galleries/people")).json()["num_templates"] == 1
    for client in clients:
        await client.aclose()


async def test_a_request_that_comes_again_is_another_tenants_first(world: World) -> None:
    headers = {"idempotency-key": "one"}
    body = {"name": "people", "space": "a"}
    for tenant in ("default", "acme"):
        async with world.client(world.key(tenant=tenant)) as client:
            first, again = [await client.post("/galleries", json=body, headers=headers) for _ in range(2)]
            assert (first.status_code, "idempotency-replayed" in first.headers) == (201, False)
            assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")


async def test_tenants_are_there_after_a_start(bundles: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "keys.json", "gate", EVERYTHING, tenant="acme").text
    settings = Settings(bundles=bundles, data=tmp_path, device="cpu")
    jobs = []
    for number in range(2):
        app = create_app(settings)
        async with running(app), World(app, tmp_path).client(key) as client:
            assert [one.tenant for one in app.state.tenants.all] == ["default", *["acme"] * number]
            if number == 0:
                await people(client)
                started = await client.post("/galleries/people/migrations", json={"target": "b", "gates": LOOSE})
                jobs.append(started.json()["job_id"])
            # Whatever state it was left in, it is gone on with.
            await until(client, jobs[0], "ready")
            assert (await client.get("/galleries/people")).json()["num_templates"] == len(ROWS)


async def test_a_key_that_asks_too_often_waits(world: World) -> None:
    async with world.client(world.key(requests_per_second=0.02)) as client:
        answers = [await client.get("/spaces") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    problem = answers[-1]
    assert problem.json()["type"] == "urn:facebridge:problem:rate-limited"
    assert 40 < int(problem.headers["retry-after"]) <= 50
    async with world.client(world.key()) as other:
        assert (await other.get("/spaces")).status_code == 200


async def test_a_key_has_so_many_probes_a_day(world: World) -> None:
    async with world.client(world.key()) as client:
        await people(client)
    async with world.client(world.key("search", probes_per_day=4)) as client:
        assert (await client.post("/identify", json=probe())).status_code == 200
        two = {"a": probe()["probe"], "b": probe()["probe"]}
        assert (await client.post("/verify", json=two)).status_code == 200
        batch = {"content": npy(ROWS[:3]), "headers": {"content-type": "application/x-npy"}}
        refused = await client.post("/identify?gallery=people&space=a", **batch)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:facebridge:problem:rate-limited")
        assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
        batch["content"] = npy(ROWS[:2])
        assert (await client.post("/identify?gallery=people&space=a", **batch)).status_code == 200  # type: ignore[arg-type]
        assert (await client.post("/identify", json=probe())).status_code == 429


async def test_settings_hold_for_keys_that_say_nothing(bundles: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path / "mine.json", "gate", EVERYTHING).text
    more = make_key(tmp_path / "mine.json", "more", EVERYTHING, requests_per_second=50, probes_per_day=9).text
    given = {"requests_per_second": 2.0, "probes_per_day": 1, "keys": tmp_path / "mine.json"}
    settings = Settings(bundles=bundles, data=tmp_path / "data", device="cpu", **given)  # type: ignore[arg-type]
    async with running(create_app(settings)) as client:
        two = {"a": probe()["probe"], "b": probe()["probe"]}
        found = [(await client.post("/verify", json=two, headers={"x-api-key": key})).status_code for _ in range(2)]
        assert found == [200, 429]
        assert (await client.get("/spaces", headers={"x-api-key": key})).status_code == 429
        found = [(await client.post("/verify", json=two, headers={"x-api-key": more})).status_code for _ in range(3)]
        assert found == [200] * 3


async def test_it_is_written_down_who_did_what(world: World) -> None:
    key = world.key()
    key_id = key.split("_")[1]
    async with world.client(key) as client:
        await people(client)
        await client.post("/identify", json=probe())
        await client.delete("/galleries/people/subjects/s1")
        await client.get("/spaces")
        await client.post("/galleries", json={"name": "people", "space": "a"})
        page = (await client.get("/audit?limit=2")).json()
        rest = (await client.get(f"/audit?after={page['next_after']}")).json()
    entries = world.audit()
    told = [(one["method"], one["route"], one["status"]) for one in entries]
    assert told[:5] == [
        ("POST", "/galleries", 201),
        ("POST", "/galleries/{gallery}/templates", 201),
        ("POST", "/identify", 200),
        ("DELETE", "/galleries/{gallery}/subjects/{subject:path}", 200),
        ("POST", "/galleries", 409),
    ]
    assert {one["key_id"] for one in entries} == {key_id}
    assert (entries[1]["gallery"], entries[1]["num_templates"]) == ("people", len(ROWS))
    assert (entries[2]["gallery"], entries[2]["num_probes"]) == ("people", 1)
    assert [one["number"] for one in page["entries"]] == [1, 2]
    assert rest["entries"][0]["before"] == page["entries"][-1]["digest"]
    # Nothing of a person is in it: neither names nor numbers of a vector.
    told_of = [{name: fact for name, fact in one.items() if name not in ("at", "digest", "before")} for one in entries]
    assert '"s1"' not in json.dumps(told_of)
    assert all(f"{number:.4f}"[:5] not in json.dumps(told_of) for number in abs(ROWS[0]).tolist())


async def test_a_change_that_cannot_be_written_down_is_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async with world.client(world.key()) as client:
        monkeypatch.setattr("service.access.audit._write_all", fails)
        answer = await client.post("/galleries", json={"name": "people", "space": "a"})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:facebridge:problem:not-recorded")
        assert "audit log" in answer.json()["detail"]
        monkeypatch.undo()
        assert (await client.get("/galleries/people")).status_code == 200
    assert issubclass(StorageError, Exception)


async def test_no_change_is_answered_that_cannot_be_written_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes of it: what is refused may have begun."""

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async with world.client(world.key()) as client:
        monkeypatch.setattr("service.access.audit._write_all", fails)
        for (method, path), needed in NEEDS.items():
            answer = await client.request(method, re.sub(r"{[^}]*}", "nothing", path))
            is_lost = answer.status_code == 503
            assert is_lost == (method != "GET" and needed not in READING), (method, path, answer.text)
            assert not is_lost or answer.json()["type"] == "urn:facebridge:problem:not-recorded"
        monkeypatch.undo()


CHANGES: list[tuple[str, str, str, Any]] = [
    ("POST", "/galleries", "/galleries", {"name": "people", "space": "a"}),
    (
        "POST",
        "/galleries/people/templates",
        "/galleries/{gallery}/templates",
        {"space": "a", "templates": [{"subject": name, "feature": ROWS[0].tolist()} for name in ("s0", "s1")]},
    ),
    ("DELETE", "/galleries/people/subjects/s0", "/galleries/{gallery}/subjects/{subject:path}", None),
    ("POST", "/galleries/people/erasures", "/galleries/{gallery}/erasures", {"subjects": ["s1"]}),
    ("POST", "/galleries/people/migrations", "/galleries/{gallery}/migrations", {"target": "b", "gates": LOOSE}),
    ("POST", "/keys", "/keys", {"name": "gate"}),
]


async def test_when_a_change_is_answered_it_is_written_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(descriptor: int, data: bytes, write: Callable[[int, bytes], None] = audit._write_all) -> None:
        time.sleep(0.1)
        write(descriptor, data)

    monkeypatch.setattr("service.access.audit._write_all", slowly)
    assert {NEEDS[method, route] for method, _, route, _ in CHANGES} == CHANGING
    async with world.client(world.key()) as client:
        for method, path, route, body in CHANGES:
            answer = await client.request(method, path, json=body)
            assert answer.is_success, (path, answer.text)
            on_disk = [(one.get("method"), one.get("route")) for one in read_audit(world.data / "audit")]
            assert (method, route) in on_disk


def heard(app: ASGIApp, messages: list[Message]) -> ASGIApp:
    """An app, and whatever it sends."""

    async def hear(scope: AsgiScope, receive: Receive, send: Send) -> None:
        async def keep(message: Message) -> None:
            messages.append(message)
            await send(message)

        await app(scope, receive, keep)

    return hear


async def test_of_an_answer_that_is_not_written_down_nothing_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    sent: list[Message] = []
    transport = httpx.ASGITransport(heard(world.app, sent), raise_app_exceptions=False)
    headers = {"x-api-key": world.key()}
    monkeypatch.setattr("service.access.audit._write_all", fails)
    async with httpx.AsyncClient(transport=transport, base_url="http://facebridge", headers=headers) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
    monkeypatch.undo()
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["type"] == "urn:facebridge:problem:not-recorded"


@pytest.mark.parametrize("needs_keys", [True, False], ids=["no-keys", "not-asked-for"])
async def test_where_nobody_needs_a_key_nothing_is_written_down(
    bundles: Path, tmp_path: Path, needs_keys: bool
) -> None:
    if not needs_keys:
        make_key(tmp_path / "keys.json", "first")
    app = create_app(Settings(bundles=bundles, data=tmp_path, device="cpu"), needs_keys=needs_keys)
    async with running(app) as client:
        await people(client)
        assert (await client.post("/identify", json=probe())).status_code == 200
    assert list(read_audit(tmp_path / "audit")) == []


async def test_what_may_be_a_name_or_a_secret_is_not_written_down(world: World) -> None:
    key = world.key()
    async with world.client(key) as client:
        await client.delete(f"/keys/{key}")
        await client.get("/galleries/people/templates/Ann%20Smith")
        await client.delete("/galleries/people/templates/ann")
        await client.post(f"/identify?gallery={'x' * 500}&space=a", content=npy(ROWS), headers={"content-type": NPY})
    text = json.dumps(world.audit())
    assert key.split("_")[1] in text
    for said in (key, key.split("_", 2)[2], "Ann", '"ann"', "xxx"):
        assert said not in text


async def test_what_failed_half_way_is_written_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise ZeroDivisionError

    async with world.client(world.key()) as client:
        monkeypatch.setattr("service.api.routes.galleries.GalleryView.of", fails)
        assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 500
        monkeypatch.undo()
        assert (await client.get("/galleries/people")).status_code == 200
    assert [(one["route"], one["status"]) for one in world.audit()][:1] == [("/galleries", 500)]


async def test_a_tenant_that_cannot_be_opened_can_be_when_it_is_mended(world: World) -> None:
    key = world.key(tenant="acme")
    audit = world.data / TENANTS / "acme" / "audit"
    audit.mkdir(parents=True)
    (audit / "000000000001.jsonl").write_text("broken\n")
    async with world.client(key) as client:
        answer = await client.get("/galleries")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:facebridge:problem:not-ready")
        assert str(world.data) not in answer.text
        (audit / "000000000001.jsonl").unlink()
        assert (await client.get("/galleries")).status_code == 200


async def test_a_key_gives_no_more_than_it_has(world: World) -> None:
    own = world.key("keys-admin", "search", requests_per_second=5.0, probes_per_day=100, days=2.0)
    wanted = {"name": "gate", "requests_per_second": 1e6, "probes_per_day": 10**15, "days": 3000, "scopes": ["search"]}
    async with world.client(own) as client:
        made = (await client.post("/keys", json=wanted)).json()
        assert (made["requests_per_second"], made["probes_per_day"]) == (5.0, 100)
        end = datetime.fromisoformat(made["until"])
        assert end <= datetime.fromisoformat((await client.get("/keys")).json()["keys"][-2]["until"])
        silent = (await client.post("/keys", json={"name": "other", "scopes": ["search"]})).json()
        assert (silent["requests_per_second"], silent["probes_per_day"], bool(silent["until"])) == (5.0, 100, True)


async def test_a_file_of_keys_that_is_gone_or_cannot_be_written_lets_nobody_in_or_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client(world.key()) as client:
        whole = world.keys.read_bytes()
        for broken in (None, b"{}"):
            if broken is None:
                world.keys.unlink()
            else:
                world.keys.write_bytes(broken)
            for answer in (await client.post("/keys", json={"name": "gate"}), await client.get("/keys")):
                assert (answer.status_code, answer.json()["type"]) == (503, "urn:facebridge:problem:keys-unavailable")
                assert str(world.data) not in answer.text
        world.keys.write_bytes(whole)
        world.look()

        def read_only(*_: Any, **__: Any) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("service.access.keys.write_whole", read_only)
        assert (await client.post("/keys", json={"name": "gate"})).status_code == 503
        monkeypatch.undo()
        assert (await client.get("/galleries")).status_code == 200


async def test_a_replica_without_galleries_says_so(bundles: Path, tmp_path: Path) -> None:
    settings = Settings(bundles=bundles, data=tmp_path, device="cpu", galleries="off")
    async with running(create_app(settings)) as client:
        for method, path in (("POST", "/galleries"), ("GET", "/galleries/people"), ("GET", "/jobs")):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:facebridge:problem:no-galleries")
        body = {"source": "a", "target": "b", "features": ROWS[:1].tolist()}
        assert (await client.post("/translate", json=body)).status_code == 200
        assert (await client.post("/identify", json=probe())).status_code == 404


async def test_keys_are_made_rotated_and_ended_over_http_and_hold_at_once(world: World) -> None:
    own = world.key("keys-admin", "search", tenant="acme")
    async with world.client(own) as client:
        made = (await client.post("/keys", json={"name": "gate", "scopes": ["search"], "days": 1})).json()
        assert (made["scopes"], made["secrets"][0].keys()) == (["search"], {"made_at", "until"})
        async with world.client(made["key"]) as gate:
            assert (await gate.get("/galleries")).status_code == 200
            assert (await gate.get("/keys")).status_code == 403
        with_admin = (await client.post("/keys", json={"name": "other", "scopes": ["keys-admin", "search"]})).json()
        async with world.client(with_admin["key"]) as other:
            rotated = (await other.post(f"/keys/{with_admin['key_id']}/rotate", json={"keep_seconds": 0})).json()
        for key, status in ((with_admin["key"], 401), (rotated["key"], 200)):
            async with world.client(key) as gate:
                assert (await gate.get("/galleries")).status_code == status
        listed = (await client.get("/keys")).json()["keys"]
        assert [one["name"] for one in listed][-2:] == ["gate", "other"]
        assert "key" not in listed[-1]
        ended = (await client.delete(f"/keys/{made['key_id']}")).json()
        assert ended["revoked_at"] is not None
        async with world.client(made["key"]) as gate:
            assert (await gate.get("/galleries")).status_code == 401


async def test_nobody_gives_away_what_they_have_not(world: World) -> None:
    strong = world.key("erase", "search", tenant="acme").split("_")[1]
    async with world.client(world.key("keys-admin", "search", tenant="acme")) as client:
        made = await client.post("/keys", json={"name": "gate", "scopes": ["search", "erase"]})
        rotated = await client.post(f"/keys/{strong}/rotate")
        assert (made.status_code, rotated.status_code) == (403, 403)
        # Whose tenant it is for nobody can say.
        told = await client.post("/keys", json={"name": "gate", "scopes": ["search"], "tenant": "default"})
        assert told.status_code == 422
        assert (await client.delete(f"/keys/{strong}")).status_code == 200


async def test_without_keys_whoever_is_there_may_do_everything(people: httpx.AsyncClient) -> None:
    assert (await people.get("/galleries/people")).status_code == 200
    for method, path in (("GET", "/keys"), ("POST", "/keys")):
        sent = {"json": {"name": "gate"}} if method == "POST" else {}
        answer = await people.request(method, path, **sent)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:facebridge:problem:no-keys")


async def test_answers_are_neither_kept_nor_framed(client: httpx.AsyncClient) -> None:
    for path in ("/spaces", "/nothing", "/healthz/live"):
        headers = (await client.get(path)).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert (headers["referrer-policy"], headers["x-frame-options"]) == ("no-referrer", "DENY")
        assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    for path in ("/docs", "/redoc"):
        page = await client.get(path)
        policy = page.headers["content-security-policy"]
        loaded = set(re.findall(r'(?:src|href)="https://([^/"]+)/', page.text))
        assert loaded
        assert [host for host in loaded if host not in policy] == []
        said = dict(part.split(" ", 1) for part in policy.split("; "))
        assert (said["default-src"], said["connect-src"], said["worker-src"]) == ("'none'", "'self'", "blob:")
        # What /reconstruct paints is shown so.
        assert {"data:", "blob:"} <= set(said["img-src"].split())
