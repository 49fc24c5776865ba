from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ReadOnlyError
from service.galleries.oracle import OracleGalleryStore
from tests.api.conftest import MakeApp
from tests.api.world import features, npy, running

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
ROW = features(1)[0].tolist()


async def scraped(client: httpx.AsyncClient) -> Samples:
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"facebridge_{name}", frozenset(labels.items())


async def test_the_process_says_that_it_lives_and_is_ready(oracle_client: httpx.AsyncClient) -> None:
    live, ready = await oracle_client.get("/healthz/live"), await oracle_client.get("/healthz/ready")
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ok", "num_bundles": 5, "num_rejected": 0, "is_writable": True},
    )


async def test_metrics_count_what_was_done(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        templates = [{"subject": subject, "feature": ROW} for subject in ("ann", "bob", "cid")]
        await client.post("/galleries/people/templates", json={"space": "a", "templates": templates})
        await client.delete("/galleries/people/subjects/bob")
        await client.post(
            "/translate?source=a&target=c", content=npy(features(7)), headers={"content-type": "application/x-npy"}
        )
        await client.post("/translate", json={"source": "a", "target": "b", "features": [ROW]})
        await client.post("/translate", json={"source": "a", "target": "d", "features": [ROW]})
        found = await scraped(client)
    assert found[key("enrolled_templates_total", tenant="default", gallery="people")] == 3
    assert found[key("gallery_templates", tenant="default", gallery="people")] == 2
    assert found[key("translated_vectors_total", source="a", target="c")] == 7
    assert found[key("translated_vectors_total", source="a", target="b")] == 1
    assert found[key("batch_rows_sum", bundle="a-to-b")] == 8
    assert found[key("batch_rows_sum", bundle="b-to-c")] == 7
    assert found[key("problems_total", type="no-route")] == 1
    assert found[key("bundles", state="loaded")] == 5
    assert found[key("bundles", state="rejected")] == 0
    assert found[key("queued_rows", bundle="a-to-b")] == 0
    translate = {"method": "POST", "route": "/translate"}
    assert found[key("request_seconds_count", **translate, status="200")] == 2
    assert found[key("request_seconds_count", **translate, status="422")] == 1


async def test_requests_are_measured_by_route_and_never_by_what_was_asked_for(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        for name in ("one", "two"):
            await client.get(f"/galleries/{name}")
            await client.get(f"/{name}")
            await client.request(f"M{name}", "/spaces")
        found = await scraped(client)
    requests = {labels for name, labels in found if name == "facebridge_request_seconds_count"}
    told = {(dict(labels)["method"], dict(labels)["route"]) for labels in requests}
    assert told == {("GET", "/galleries/{gallery}"), ("GET", "unknown"), ("other", "/spaces")}


async def test_a_dropped_gallery_is_no_longer_measured(make_app: MakeApp) -> None:
    store = OracleGalleryStore()
    async with running(make_app(store=store)) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        assert key("gallery_templates", tenant="default", gallery="people") in await scraped(client)
        await client.delete("/galleries/people")
        assert key("gallery_templates", tenant="default", gallery="people") not in await scraped(client)


@pytest.mark.parametrize("given", ["abc-123", "A" * 64])
async def test_a_well_formed_request_id_comes_back(oracle_client: httpx.AsyncClient, given: str) -> None:
    response = await oracle_client.get("/healthz/live", headers={"x-request-id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "with space", "A" * 65, "<script>"])
async def test_a_request_id_that_could_do_harm_is_replaced(oracle_client: httpx.AsyncClient, given: str) -> None:
    response = await oracle_client.get("/healthz/live", headers={"x-request-id": given})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 16


async def test_a_service_that_can_write_no_more_says_so_and_goes_on_reading(make_app: MakeApp) -> None:
    class Failed(OracleGalleryStore):
        def check_writable(self) -> None:
            raise ReadOnlyError("a write to the record failed (SQLITE_IOERR_FSYNC)")

    async with running(make_app(store=Failed())) as client:
        ready = await client.get("/healthz/ready")
        # Whoever alone can answer from its galleries is not to be taken away by an orchestrator.
        assert (ready.status_code, ready.json()["is_writable"]) == (200, False)
        assert (await scraped(client))[key("writable", tenant="default")] == 0
        assert (await client.get("/healthz/live")).status_code == 200
        assert (await client.get("/galleries")).status_code == 200


async def test_metrics_tell_how_much_memory_and_disk_there_is(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        found = await scraped(client)
    assert found[key("memory_limit_bytes")] > 1 << 20
    assert 0 < found[key("disk_free_bytes")] <= found[key("disk_size_bytes")]


async def test_what_keeps_no_galleries_is_none_that_cannot_be_written(make_app: MakeApp) -> None:
    async with running(make_app(galleries="off")) as client:
        assert key("writable", tenant="default") not in await scraped(client)


async def test_metrics_tell_how_galleries_and_stages_are(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        templates = [{"subject": subject, "feature": ROW} for subject in ("ann", "ann", "bob")]
        await client.post("/galleries/people/templates", json={"space": "a", "templates": templates})
        probe = {"space": "a", "feature": ROW}
        for more in ({}, {"fmr": 0.01}):
            await client.post("/identify", json={"gallery": "people", "probe": probe, **more})
        nobody = {"space": "a", "feature": (-features(1)[0]).tolist()}
        await client.post("/identify", json={"gallery": "people", "probe": nobody, "fmr": 0.01})
        await client.post("/verify", json={"a": probe, "b": nobody, "fmr": 0.01})
        found = await scraped(client)
    gallery = {"tenant": "default", "gallery": "people"}
    assert found[key("gallery_subjects", **gallery)] == 2
    assert found[key("gallery_generation", **gallery)] == 1
    assert found[key("gallery_generations_beside", **gallery, state="kept")] == 0
    assert found[key("gallery_backlog_templates", **gallery)] == 0
    assert found[key("index_recall", **gallery)] == 1
    assert found[key("probes_total", **gallery)] == 3
    decided = {what: found.get(key("decisions_total", tenant="default", decision=what)) for what in DECISIONS}
    assert decided == {"match": 1, "nobody": 1, "non-match": 1}
    assert found[key("writable", tenant="default")] == 1
    assert found[key("requests_in_progress")] == 1
    assert found[key("jobs", tenant="default", state="running")] == 0
    assert found["process_resident_memory_bytes", frozenset()] > 1 << 20
    for stage in ("decode", "search", "encode"):
        labels = {"stage": stage, "route": "/identify"}
        assert found[key("stage_seconds_count", **labels)] == 3
        assert 0 < found[key("stage_seconds_sum", **labels)] < 10
    enrolled = {"stage": "record", "route": "/galleries/{gallery}/templates"}
    assert found[key("stage_seconds_count", **enrolled)] == 1


DECISIONS = ("match", "nobody", "non-match")


async def test_a_model_that_is_waited_for_shows_where(make_app: MakeApp) -> None:
    async with running(make_app()) as client:
        await client.post("/translate", json={"source": "a", "target": "c", "features": [ROW]})
        found = await scraped(client)
    for stage in ("queue", "inference"):
        assert found[key("stage_seconds_count", stage=stage, route="/translate")] == 1
