"""What the demo asks of the running service, and what it measures of the answers.

Every figure is over all people; nobody was picked.
"""

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from deploy.demo.people import CLOUD, EDGE, People
from deploy.demo.running import ServiceError
from models.feature_set import FeatureSet, write_npz
from models.npy import write_npy
from training.evaluation.identification import genuine_ranks, rank_k

TOP_K = 10
FMR = 1e-3
_NPY, _NPZ = {"content-type": "application/x-npy"}, {"content-type": "application/x-npz"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the account: the journey, what was done, and what came of it."""

    journey: str
    what: str
    figure: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """The candidates of every probe, best first, and who was right."""

    candidates: list[list[str]]
    subjects: list[str]

    def rank(self, k: int) -> float:
        """The share of probes whose subject is among the first k."""
        found = [own in names[:k] for own, names in zip(self.subjects, self.candidates, strict=True)]
        return float(np.mean(found))


class Journeys:
    """The journeys, each a call or two."""

    def __init__(self, people: People, address: str) -> None:
        self._people = people
        self._client = httpx.Client(base_url=address, timeout=60.0, trust_env=False)

    def enrol(self) -> Line:
        """Everybody's first photo, in the space of the large encoder."""
        enrolled = self._gallery("people", CLOUD, self._people.cloud.take(self._people.gallery))
        return Line("enrol", f"{enrolled} people, one photo each, by the cloud encoder", f"{enrolled} templates")

    def translate(self) -> list[Line]:
        """Features of the small encoder, brought into the space of the large one."""
        rows = self._people.probes("photo")
        edge, cloud = self._people.edge.feature[rows], self._people.cloud.feature[rows]
        answer = self._client.post(
            "/translate", params={"source": EDGE, "target": CLOUD}, content=write_npy(edge), headers=_NPY
        )
        translated = np.load(io.BytesIO(answer.raise_for_status().content), allow_pickle=False)
        near, far = (float(np.mean(np.sum(one * cloud, axis=1))) for one in (translated, edge))
        route = answer.headers["x-facebridge-route"]
        return [
            Line("translate", "cosine with the cloud's own feature, as the edge made it", f"{far:+.3f}"),
            Line("", f"the same, translated by {route}", f"{near:+.3f}"),
        ]

    def identify_photos(self) -> list[Line]:
        """Another photo of everybody, seen by either encoder."""
        rows = self._people.probes("photo")
        native = self._identify("people", self._people.cloud.take(rows))
        translated = self._identify("people", self._people.edge.take(rows))
        return [
            Line("identify", "another photo, seen by the cloud encoder", _rank1(native.rank(1))),
            Line("", "seen by the edge encoder, compared as it is", _rank1(self._untranslated(rows))),
            Line("", "seen by the edge encoder, translated on the way", _rank1(translated.rank(1))),
        ]

    def identify_drawings(self, modality: str) -> Line:
        """A drawing of everybody, seen by the large encoder."""
        found = self._identify("people", self._people.cloud.take(self._people.probes(modality)))
        return Line(
            "",
            f"a {modality}, seen by the cloud encoder",
            f"{_rank1(found.rank(1))}, rank-{TOP_K} {found.rank(TOP_K):.3f}",
        )

    def verify(self) -> list[Line]:
        """Two pictures, two encoders, one decision: everybody with themselves, and with the next person."""
        probes, gallery = self._people.probes("photo"), self._people.gallery
        genuine = [self._verify(int(a), int(b)) for a, b in zip(probes, gallery, strict=True)]
        impostor = [self._verify(int(a), int(b)) for a, b in zip(probes, np.roll(gallery, 1), strict=True)]
        return [
            Line("verify", f"an edge photo and a cloud photo of one person, at FMR {FMR:g}", _matches(genuine)),
            Line("", "the same of two people", _matches(impostor)),
        ]

    def migrate(self) -> list[Line]:
        """A gallery that the small encoder made goes to the space of the large one, without a picture and without a stop."""
        rows = self._people.probes("photo")
        self._gallery("old", EDGE, self._people.edge.take(self._people.gallery))
        before = self._identify("old", self._people.edge.take(rows))
        started = time.monotonic()
        job = self._ready(self._post("/galleries/old/migrations", {"target": CLOUD})["job_id"])
        # Too few people to be judged by, if somebody wants to see a handful.
        is_forced = not job["is_passed"]
        state = self._post(f"/jobs/{job['job_id']}/cutover", {"force": is_forced})["state"]
        seconds = time.monotonic() - started
        after = self._identify("old", self._people.cloud.take(rows))
        how = f"{state}{', forced,' if is_forced else ''} in {seconds:.1f} s"
        passed = sum(gate["state"] == "passed" for gate in job["gates"])
        measured = sum(gate["state"] != "not-measured" for gate in job["gates"])
        return [
            Line("migrate", "a gallery of the edge encoder, asked by the edge encoder", _rank1(before.rank(1))),
            Line("", f"migrated and judged: {passed} of {measured} gates passed", how),
            Line("", "the same gallery, asked by the cloud encoder", _rank1(after.rank(1))),
        ]

    def identify_picture(self, row: int, space: str, top_k: int) -> list[dict[str, Any]]:
        """Candidates of one picture, as JSON, encoded by the service."""
        probe = {"space": space, "image": self._base64(row)}
        body = {"gallery": "people", "probe": probe, "top_k": top_k}
        candidates: list[dict[str, Any]] = (
            self._client.post("/identify", json=body).raise_for_status().json()["candidates"]
        )
        return candidates

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.post(path, json=body).raise_for_status().json()
        return answer

    def _ready(self, job_id: str) -> dict[str, Any]:
        """The job, when it has done what it can without us. Raises `ServiceError` where that is not to be ready."""
        while True:
            job: dict[str, Any] = self._client.get(f"/jobs/{job_id}").raise_for_status().json()
            if job["state"] not in ("queued", "running", "verifying"):
                break
            time.sleep(0.1)
        if job["state"] != "ready":
            raise ServiceError(f"the migration is {job['state']}: {job['reason']}")
        return job

    def _gallery(self, name: str, space: str, feature_set: FeatureSet) -> int:
        self._client.post("/galleries", json={"name": name, "space": space}).raise_for_status()
        content = write_npz(feature_set)
        answer = self._client.post(f"/galleries/{name}/templates", content=content, headers=_NPZ).raise_for_status()
        template_ids: Sequence[str] = answer.json()["template_ids"]
        return len(template_ids)

    def _identify(self, gallery: str, probes: FeatureSet) -> Ranked:
        query: dict[str, str | int] = {"gallery": gallery, "top_k": TOP_K}
        answer = self._client.post("/identify", params=query, content=write_npz(probes), headers=_NPZ)
        found = answer.raise_for_status().json()
        candidates = [[one["subject"] for one in result["candidates"]] for result in found["results"]]
        return Ranked(candidates, probes.subject.tolist())

    def _untranslated(self, rows: npt.NDArray[np.int64]) -> float:
        """The service refuses to compare two spaces; what would come of it is computed here."""
        gallery = self._people.cloud.take(self._people.gallery)
        probes = self._people.edge.take(rows)
        return rank_k(genuine_ranks(probes.feature, probes.subject, gallery.feature, gallery.subject), 1)

    def _verify(self, edge_row: int, cloud_row: int) -> bool:
        a = {"space": EDGE, "feature": self._people.edge.feature[edge_row].tolist()}
        b = {"space": CLOUD, "feature": self._people.cloud.feature[cloud_row].tolist()}
        found = self._client.post("/verify", json={"a": a, "b": b, "fmr": FMR}).raise_for_status().json()
        return bool(found["decision"] == "match")

    def _base64(self, row: int) -> str:
        return base64.b64encode(self._people.picture(int(row))).decode()


def _rank1(share: float) -> str:
    return f"rank-1 {share:.3f}"


def _matches(decisions: list[bool]) -> str:
    return f"{sum(decisions)} of {len(decisions)} match"
