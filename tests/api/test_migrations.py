"""Migrations over HTTP: a gallery goes from the space a to b, or c, while it goes on answering and enrolling.

Shapes: N templates, D dimension of a space.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.usecases.receipts import check_sealed
from tests.api.world import A_TO_B, B_TO_C, A, Rows, by_hand, feature_set, features, unit

SUBJECTS = [f"s{number // 2}" for number in range(80)]
"""Everybody twice."""
LOOSE = {"min_overlap": 0.0, "min_retention": 0.0, "max_negative_flips": 1.0, "num_samples": 40}


def people() -> Rows:
    """Two pictures of each: alike."""
    once = features(40, 8, seed=1)
    twice = np.repeat(once, 2, axis=0) + 0.15 * features(80, 8, seed=2)
    return unit(twice)


@pytest.fixture
async def gallery(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """`people`, in the space a, with eighty templates."""
    await client.post("/galleries", json={"name": "people", "space": "a"})
    await enrol(client, SUBJECTS, people(), "a")
    yield client
    for job in (await client.get("/jobs?gallery=people")).json()["jobs"]:
        await client.post(f"/jobs/{job['job_id']}/cancel")


async def enrol(client: httpx.AsyncClient, subjects: list[str], rows: Rows, space: str) -> dict[str, Any]:
    templates = [{"subject": name, "feature": row.tolist()} for name, row in zip(subjects, rows, strict=True)]
    response = await client.post("/galleries/people/templates", json={"space": space, "templates": templates})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def start(client: httpx.AsyncClient, target: str = "b", **more: Any) -> str:
    response = await client.post("/galleries/people/migrations", json={"target": target, "gates": LOOSE} | more)
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['job_id']}"
    return str(job["job_id"])


async def until(client: httpx.AsyncClient, job_id: str, *states: str) -> dict[str, Any]:
    for _ in range(600):
        job: dict[str, Any] = (await client.get(f"/jobs/{job_id}")).json()
        if job["state"] in states:
            return job
        assert job["state"] not in ("failed", "paused"), job["reason"]
        await asyncio.sleep(0.02)
    raise AssertionError(job)


async def order(client: httpx.AsyncClient, job_id: str, what: str, status: int = 200, **body: Any) -> dict[str, Any]:
    has_body = what in ("cutover", "rollback")
    response = await client.post(f"/jobs/{job_id}/{what}", json=body if has_body else None)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def identify(client: httpx.AsyncClient, row: Rows, space: str, top_k: int = 1) -> dict[str, Any]:
    body = {"gallery": "people", "top_k": top_k, "probe": {"space": space, "feature": row.tolist()}}
    response = await client.post("/identify", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_gallery_goes_to_another_space_and_back(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery)
    job = await until(gallery, job_id, "ready")
    assert (job["generation_before"], job["generation"], job["mode"]) == (1, 2, "gallery")
    assert (job["source"]["name"], job["target"]["name"]) == ("a", "b")
    assert [one["name"] for one in job["routes"][0]["bundles"]] == ["a-to-b"]
    assert job["progress"] | {"rate": None, "seconds_left": None} == {
        "done": 80,
        "total": 80,
        "failed": 0,
        "rate": None,
        "seconds_left": None,
    }
    assert job["is_passed"]
    before = await identify(gallery, people()[0], "a")
    assert (before["generation"], before["candidates"][0]["subject"]) == (1, "s0")

    job = await order(gallery, job_id, "cutover")
    assert (job["state"], job["kept_until"] is not None) == ("cut-over", True)
    shown = (await gallery.get("/galleries/people")).json()
    assert (shown["generation"], shown["space"]["name"]) == (2, "b")
    assert [(one["generation"], one["state"], one["space"]["name"]) for one in shown["beside"]] == [(1, "kept", "a")]
    # Old cameras go on sending a, which is translated; the new encoder's features are native.
    native = await identify(gallery, by_hand(people()[:1], A_TO_B)[0], "b")
    old = await identify(gallery, people()[0], "a")
    for answer in (native, old):
        assert (answer["generation"], answer["candidates"][0]["subject"]) == (2, "s0")
        assert answer["candidates"][0]["score"] == pytest.approx(1.0, abs=1e-5)
    (template, *_) = (await gallery.get("/galleries/people/templates?limit=1")).json()["templates"]
    assert (template["space"], template["route"]) == (A.fingerprint, ["a-to-b"])

    job = await order(gallery, job_id, "rollback")
    assert job["state"] == "rolled-back"
    assert (await gallery.get("/galleries/people")).json()["space"]["name"] == "a"
    assert await identify(gallery, people()[0], "a") == before
    job = await order(gallery, job_id, "cutover")
    assert job["state"] == "cut-over"
    assert (await identify(gallery, people()[0], "a"))["generation"] == 2


async def test_what_is_enrolled_and_removed_meanwhile_is_in_both(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery)
    await enrol(gallery, ["new"], features(1, 8, seed=5), "a")
    await until(gallery, job_id, "ready")
    late = features(1, 8, seed=6)
    await enrol(gallery, ["late"], late, "a")
    await gallery.delete("/galleries/people/subjects/s3")
    await order(gallery, job_id, "cutover")
    after = features(1, 16, seed=7)
    assert (await enrol(gallery, ["native"], after, "b"))["generation"] == 2
    await enrol(gallery, ["after"], features(1, 8, seed=8), "a")
    for row, name in ((late[0], "late"), (features(1, 8, seed=5)[0], "new"), (features(1, 8, seed=8)[0], "after")):
        assert (await identify(gallery, row, "a"))["candidates"][0]["subject"] == name
    assert (await identify(gallery, after[0], "b"))["candidates"][0]["subject"] == "native"
    listed = await identify(gallery, people()[6], "a", top_k=100)
    assert "s3" not in {one["subject"] for one in listed["candidates"]}
    await order(gallery, job_id, "rollback")
    # From b a route of two leads back to a.
    names = {one["subject"] for one in (await identify(gallery, people()[0], "a", top_k=100))["candidates"]}
    assert {"late", "new", "after", "native"} <= names
    assert "s3" not in names


async def test_templates_of_several_spaces_come_each_from_its_own(gallery: httpx.AsyncClient) -> None:
    of_b, of_c = features(1, 16, seed=9), features(1, 8, seed=10)
    await enrol(gallery, ["from-b"], of_b, "b")
    await enrol(gallery, ["from-c"], of_c, "c")
    job_id = await start(gallery, "c")
    job = await until(gallery, job_id, "ready")
    assert sorted([one["name"] for one in route["bundles"]] for route in job["routes"]) == [
        ["a-to-b", "b-to-c"],
        ["b-to-c"],
    ]
    await order(gallery, job_id, "cutover")
    for row, name in (
        (by_hand(people()[:1], A_TO_B, B_TO_C)[0], "s0"),
        (by_hand(of_b, B_TO_C)[0], "from-b"),
        (of_c[0], "from-c"),
    ):
        (best,) = (await identify(gallery, row, "c"))["candidates"]
        assert (best["subject"], best["score"] > 0.9999) == (name, True)


async def test_the_verdict_is_signed_and_shown(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery)
    assert (await gallery.get("/jobs/0/verdict")).status_code == 404
    await until(gallery, job_id, "ready")
    verdict = (await gallery.get(f"/jobs/{job_id}/verdict")).json()
    assert check_sealed(json.dumps(verdict).encode(), "verdict")["job"] == job_id
    states = {gate["name"]: gate["state"] for gate in verdict["gates"]}
    # These translators tell nothing of confidence.
    assert states.pop("low confidence") == "not-measured"
    assert set(states.values()) == {"passed"}
    assert verdict["rank1"]["num"] == 40
    assert verdict["plan"]["routes"][A.fingerprint]["quality"] == 0.9
    page = await gallery.get(f"/jobs/{job_id}/verdict.html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
    assert not re.search(r"<script|<link|<img|\ssrc=|@import|url\(", page.text)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for piece in ("people: a to b", "passed", "negative flips", "<svg", verdict["signature"][:20]):
        assert piece in page.text


async def test_a_migration_that_fails_its_gates_is_cut_over_only_by_force(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery, gates={"min_overlap": 1.0, "num_samples": 30})
    job = await until(gallery, job_id, "ready")
    assert job["is_passed"] is False
    problem = await order(gallery, job_id, "cutover", 409)
    assert problem["type"] == "urn:facebridge:problem:gates-failed"
    assert "neighbour overlap@10" in problem["detail"]
    assert (await gallery.get("/galleries/people")).json()["generation"] == 1
    assert (await order(gallery, job_id, "cutover", force=True))["state"] == "cut-over"


async def test_it_is_cut_over_by_itself_where_that_was_asked_for(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery, cutover="auto")
    await until(gallery, job_id, "cut-over")
    assert (await gallery.get("/galleries/people")).json()["generation"] == 2
    await gallery.delete("/galleries/people")


async def test_labelled_probes_are_judged_by_and_not_kept(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery, gates=LOOSE | {"fnir": {"fpir": 0.1, "max_increase": 1.0}})
    job = await until(gallery, job_id, "ready")
    assert job["is_passed"] is False
    assert (await order(gallery, job_id, "cutover", 409))["type"].endswith("gates-failed")
    rows = np.concatenate([people()[:60:2] + 0.01 * features(30, 8, seed=3), features(40, 8, seed=4)])
    subjects = SUBJECTS[:60:2] + [f"x{number}" for number in range(40)]
    few = feature_set(A, unit(rows[1:]), subjects[1:])
    response = await gallery.post(f"/jobs/{job_id}/probes", content=few, headers={"content-type": "application/x-npz"})
    gate = response.json()["gates"][-1]
    assert (gate["state"], gate["num"], response.json()["is_passed"]) == ("not-measured", 29, False)
    body = feature_set(A, unit(rows), subjects)
    response = await gallery.post(f"/jobs/{job_id}/probes", content=body, headers={"content-type": "application/x-npz"})
    assert response.status_code == 200, response.text
    verdict = response.json()
    assert check_sealed(response.content, "verdict")["job"] == job_id
    assert (verdict["probes"]["before"]["num_mated"], verdict["probes"]["before"]["num_non_mated"]) == (30, 40)
    assert verdict["probes"]["before"]["rank1"] == 1.0
    assert verdict["is_passed"] is True
    assert verdict["gates"][-1]["name"] == "FNIR increase at FPIR 0.1"
    assert "Labelled probes" in (await gallery.get(f"/jobs/{job_id}/verdict.html")).text
    assert (await order(gallery, job_id, "cutover"))["state"] == "cut-over"
    nobody = feature_set(A, unit(rows), [""] * 70)
    refused = await gallery.post(
        f"/jobs/{job_id}/probes", content=nobody, headers={"content-type": "application/x-npz"}
    )
    assert refused.status_code == 422


async def test_probes_alone_are_translated_back_at_once(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery, "c", mode="probe")
    job = await until(gallery, job_id, "cut-over")
    assert (job["generation"], [one["name"] for one in job["probes"]["bundles"]]) == (None, ["c-to-a"])
    assert (await gallery.get("/galleries/people")).json()["generation"] == 1
    assert (await identify(gallery, features(1, 8)[0], "c"))["generation"] == 1
    assert check_sealed((await gallery.get(f"/jobs/{job_id}/verdict")).content, "verdict")["job"] == job_id
    assert "stays as it is" in (await gallery.get(f"/jobs/{job_id}/verdict.html")).text
    assert (await order(gallery, job_id, "rollback", 409))["type"].endswith("job-state")


async def test_mixed_answers_probes_of_both_spaces_before_and_after(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery, mode="mixed")
    job = await until(gallery, job_id, "ready")
    assert [one["name"] for one in job["probes"]["bundles"]] == ["b-to-c", "c-to-a"]
    of_b, of_a = by_hand(people()[:1], A_TO_B)[0], people()[0]
    assert (await identify(gallery, of_a, "a"))["generation"] == (await identify(gallery, of_b, "b"))["generation"] == 1
    await order(gallery, job_id, "cutover")
    assert (await identify(gallery, of_a, "a"))["generation"] == (await identify(gallery, of_b, "b"))["generation"] == 2


async def test_native_enrolments_work_the_backlog_off(gallery: httpx.AsyncClient) -> None:
    await order(gallery, await _ready(gallery), "cutover")
    backlog = (await gallery.get("/galleries/people/backlog?limit=3")).json()
    assert (backlog["num_native"], backlog["num_translated"], backlog["native_share"]) == (0, 80, 0.0)
    assert len(backlog["templates"]) == 3
    rest = (await gallery.get(f"/galleries/people/backlog?limit=100&cursor={backlog['next_cursor']}")).json()
    assert (len(rest["templates"]), rest["next_cursor"]) == (77, None)
    answer = await enrol(gallery, ["s0"], features(1, 16, seed=3), "b")
    assert (answer["num_retired"], answer["num_replaced"]) == (2, 0)
    backlog = (await gallery.get("/galleries/people/backlog?limit=100")).json()
    assert (backlog["num_native"], backlog["num_translated"], backlog["num_retired"]) == (1, 78, 2)
    assert "s0" not in {one["subject"] for one in backlog["templates"]}
    assert (await gallery.get("/galleries/nobody/backlog")).status_code == 404
    assert (await gallery.get("/galleries/people/backlog?cursor=x")).status_code == 400


async def _ready(client: httpx.AsyncClient, **more: Any) -> str:
    job_id = await start(client, **more)
    await until(client, job_id, "ready")
    return job_id


async def test_orders_fit_the_state_that_a_job_is_in(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    for what in ("pause", "resume", "rollback"):
        problem = await order(gallery, job_id, what, 409)
        assert problem["type"] == "urn:facebridge:problem:job-state"
        assert "ready" in problem["detail"]
    assert (await order(gallery, job_id, "cancel"))["state"] == "cancelled"
    assert (await gallery.get("/galleries/people")).json()["beside"] == []
    for what in ("pause", "resume", "cancel", "cutover", "rollback"):
        assert (await order(gallery, job_id, what, 409))["type"].endswith("job-state")
        assert (await order(gallery, "nothing", what, 404))["type"].endswith("not-found")


async def test_a_paused_job_goes_on(gallery: httpx.AsyncClient) -> None:
    job_id = await start(gallery)
    response = await gallery.post(f"/jobs/{job_id}/pause")
    if response.status_code == 200:
        await enrol(gallery, ["while-paused"], features(1, 8, seed=5), "a")
        assert (await gallery.get(f"/jobs/{job_id}")).json()["state"] == "paused"
        assert (await order(gallery, job_id, "resume"))["state"] in ("queued", "running", "verifying", "ready")
    await until(gallery, job_id, "ready")


@pytest.mark.parametrize(
    ("body", "status", "type_"),
    [
        ({"target": "nowhere"}, 422, "invalid-request"),
        ({"target": "a"}, 422, "invalid-request"),
        ({"target": "d"}, 422, "no-route"),
        ({"target": "d", "mode": "probe"}, 422, "no-route"),
        ({"target": "b", "route": ["b-to-c"]}, 422, "no-route"),
        ({"target": "b", "route": ["nothing"]}, 422, "no-route"),
        ({"target": "c", "route": ["a-to-b"]}, 422, "invalid-request"),
        ({"target": "b", "route": []}, 422, "invalid-request"),
        ({"target": "b", "mode": "sideways"}, 422, "invalid-request"),
        ({"target": "b", "keep_seconds": -1}, 422, "invalid-request"),
        ({"target": "b", "gates": {"num_samples": 1}}, 422, "invalid-request"),
        ({"target": "b", "gates": {"unknown": 1}}, 422, "invalid-request"),
        ({}, 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_migrated_is_refused(
    gallery: httpx.AsyncClient, body: dict[str, Any], status: int, type_: str
) -> None:
    response = await gallery.post("/galleries/people/migrations", json=body)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:facebridge:problem:{type_}")
    assert (await gallery.get("/galleries/people")).json()["beside"] == []


async def test_a_gallery_that_is_not_there_is_not_migrated(gallery: httpx.AsyncClient) -> None:
    response = await gallery.post("/galleries/nobody/migrations", json={"target": "b"})
    assert response.status_code == 404


async def test_an_order_needs_no_body(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    for what, state in (("cutover", "cut-over"), ("rollback", "rolled-back")):
        for broken, status in (({"content": b"{}"}, 415), ({"content": b"x", "headers": {"content-type": "a/b"}}, 415)):
            assert (await gallery.post(f"/jobs/{job_id}/{what}", **broken)).status_code == status
        response = await gallery.post(f"/jobs/{job_id}/{what}")
        assert (response.status_code, response.json()["state"]) == (200, state)


async def test_a_gallery_is_migrated_once_at_a_time(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    response = await gallery.post("/galleries/people/migrations", json={"target": "c"})
    assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:migration-in-progress")
    await order(gallery, job_id, "cutover")
    other = await start(gallery, "c")
    await until(gallery, other, "ready")
    await order(gallery, other, "cutover")
    # What the first one could go back to is not what is active now.
    assert (await order(gallery, job_id, "rollback", 412))["type"].endswith("generation-changed")
    await order(gallery, other, "rollback")
    assert (await order(gallery, job_id, "rollback"))["state"] == "rolled-back"
    jobs = (await gallery.get("/jobs?gallery=people&limit=1")).json()
    assert [one["job_id"] for one in jobs["jobs"]] == [other]
    rest = (await gallery.get(f"/jobs?gallery=people&cursor={jobs['next_cursor']}")).json()
    assert rest["jobs"][0]["job_id"] == job_id


async def test_going_back_says_who_would_be_left_out(gallery: httpx.AsyncClient) -> None:
    await gallery.delete("/galleries/people")
    await gallery.post("/galleries", json={"name": "people", "space": "b"})
    await enrol(gallery, SUBJECTS, by_hand(people(), A_TO_B), "b")
    job_id = await _ready(gallery, target="c")
    await order(gallery, job_id, "cutover")
    await enrol(gallery, ["of-c"], features(1, 8, seed=3), "c")
    job = await order(gallery, job_id, "rollback")
    assert job["state"] == "rolled-back", "from c two translators lead to b"


async def test_a_rollback_that_came_too_late_is_refused(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery, keep_seconds=0)
    await order(gallery, job_id, "cutover")
    problem = await order(gallery, job_id, "rollback", 410)
    assert problem["type"] == "urn:facebridge:problem:rollback-expired"
    assert (await gallery.get(f"/jobs/{job_id}")).json()["state"] == "cut-over"


async def test_an_order_that_comes_again_is_answered_again(gallery: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "start-1"}
    body = {"target": "b", "gates": LOOSE}
    first = await gallery.post("/galleries/people/migrations", json=body, headers=headers)
    again = await gallery.post("/galleries/people/migrations", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    job_id = first.json()["job_id"]
    assert (again.json()["job_id"], again.headers["idempotency-replayed"]) == (job_id, "true")
    await until(gallery, job_id, "ready")
    for what, state in (("cutover", "cut-over"), ("rollback", "rolled-back"), ("cutover", "cut-over")):
        headers = {"idempotency-key": f"{what}-{state}-{job_id}"} if what == "rollback" else {}
        answers = [await gallery.post(f"/jobs/{job_id}/{what}", json={}, headers=headers)]
        if headers:
            answers.append(await gallery.post(f"/jobs/{job_id}/{what}", json={}, headers=headers))
            assert answers[1].headers["idempotency-replayed"] == "true"
        assert [one.json()["state"] for one in answers] == [state] * len(answers)
    await gallery.delete("/galleries/people")


async def test_a_dropped_gallery_takes_its_migration_with_it(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    await gallery.delete("/galleries/people")
    job = (await gallery.get(f"/jobs/{job_id}")).json()
    assert (job["state"], job["reason"]) == ("failed", "the gallery that it was for is gone")
    assert (await order(gallery, job_id, "cutover", 409))["type"].endswith("job-state")
    assert (await order(gallery, job_id, "cancel", 409))["type"].endswith("job-state")


async def test_a_gallery_of_the_same_name_is_another_one(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    await gallery.delete("/galleries/people")
    await gallery.post("/galleries", json={"name": "people", "space": "a"})
    await enrol(gallery, SUBJECTS, people(), "a")
    assert (await order(gallery, job_id, "cutover", 409))["type"].endswith("job-state")
    other = await _ready(gallery)
    # The first job's end takes nothing of the other away.
    assert (await gallery.get(f"/jobs/{job_id}")).json()["state"] == "failed"
    assert (await order(gallery, other, "cutover"))["state"] == "cut-over"
    assert (await order(gallery, job_id, "rollback", 409))["type"].endswith("job-state")


async def test_no_answer_mixes_generations_while_they_are_exchanged(gallery: httpx.AsyncClient) -> None:
    job_id = await _ready(gallery)
    spaces = {1: "a", 2: "b"}
    stopped = False
    wrong: list[Any] = []
    num = 0

    async def ask(row: int) -> None:
        nonlocal num
        while not stopped:
            answer = await identify(gallery, people()[row], "a")
            num += 1
            is_found = answer["candidates"][0]["subject"] == SUBJECTS[row]
            if not is_found or answer["route"]["target"]["name"] != spaces[answer["generation"]]:
                wrong.append(answer)

    async def swap() -> None:
        nonlocal stopped
        try:
            for _ in range(10):
                await order(gallery, job_id, "cutover")
                await order(gallery, job_id, "rollback")
        finally:
            stopped = True

    await asyncio.gather(swap(), *(ask(row) for row in range(8)))
    assert wrong == []
    assert num > 20
