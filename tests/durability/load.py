"""Mixed load on a service over HTTP: what its users do, and what strangers send. Everything that is biometric or names somebody
bears a mark, so that whoever reads what the service says of it can tell.
"""

import base64
import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
from PIL import Image

from models.feature_set import FeatureSet, write_npz
from models.parquet import write_parquet
from models.space import Space
from service.entities import FloatArray

NAME, KEY, FIELD = "Canary7Qxname", "Canary7Qxkey", "Canary7Qxfield"
PEOPLE = 300
ANSWER_SECONDS = 90.0
"""An erasure on a machine that does much else takes long."""
NPY, NPZ, PARQUET = "application/x-npy", "application/x-npz", "application/vnd.apache.parquet"
GALLERY = "people"


class Client(threading.Thread):
    """Asks one thing after the other, drawn by a seed, until it is told to stop."""

    def __init__(self, url: str, spaces: tuple[Space, Space], seed: int, is_over: threading.Event) -> None:
        """`spaces`: that of the gallery, and one from which a translator leads there."""
        super().__init__(name=f"load-{seed}", daemon=True)
        self.own, self.other = spaces
        self.rng = np.random.default_rng(seed)
        self.is_over = is_over
        self.http = httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)
        self.statuses: Counter[int] = Counter()
        self.sent: list[FloatArray] = []
        """Some of the features that it sent."""
        self.failure: Exception | None = None
        self.shares: dict[Callable[[], httpx.Response], float] = {
            self.enrol: 0.14,
            self.put: 0.1,
            self.enrol_set: 0.03,
            self.identify: 0.2,
            self.identify_many: 0.1,
            self.identify_picture: 0.02,
            self.verify: 0.08,
            self.translate: 0.08,
            self.look: 0.09,
            self.remove: 0.06,
            self.nonsense: 0.06,
            self.erase: 0.015,
            self.keep: 0.015,
            self.other_gallery: 0.01,
        }

    def run(self) -> None:
        shares = np.array(list(self.shares.values()))
        asked = list(self.shares)
        try:
            while not self.is_over.is_set():
                response = asked[self.rng.choice(len(asked), p=shares / shares.sum())]()
                self.statuses[response.status_code] += 1
        except Exception as failure:  # noqa: BLE001
            self.failure = failure
        finally:
            self.http.close()

    def units(self, num: int, space: Space) -> FloatArray:
        raw_ND = self.rng.standard_normal((num, space.dimension))
        unit_ND: FloatArray = (raw_ND / np.linalg.norm(raw_ND, axis=1, keepdims=True)).astype(np.float32)
        if len(self.sent) < 1000:
            self.sent.append(unit_ND[0])
        return unit_ND

    def someone(self) -> str:
        return f"{NAME}-{self.rng.integers(PEOPLE)}"

    def templates(self, num: int, space: Space) -> list[dict[str, Any]]:
        keys = self.rng.choice(4 * PEOPLE, size=num, replace=False).tolist()
        return [
            {
                "subject": f"{NAME}-{key % PEOPLE}",
                "key": f"{KEY}-{key}",
                "feature": feature.tolist(),
                "metadata": {"site": f"{FIELD}-{key % 3}", "year": key % 7},
            }
            for key, feature in zip(keys, self.units(num, space), strict=True)
        ]

    def some_space(self) -> Space:
        return self.own if self.rng.random() < 0.6 else self.other

    def enrol(self) -> httpx.Response:
        space = self.some_space()
        body = {"space": space.name, "templates": self.templates(int(self.rng.integers(1, 20)), space)}
        headers = {"idempotency-key": f"{NAME}-{self.rng.integers(1 << 40)}"} if self.rng.random() < 0.3 else {}
        return self.http.post(f"/galleries/{GALLERY}/templates", json=body, headers=headers)

    def put(self) -> httpx.Response:
        space = self.some_space()
        body = {"space": space.name, "templates": self.templates(int(self.rng.integers(1, 20)), space)}
        return self.http.put(f"/galleries/{GALLERY}/templates", json=body)

    def enrol_set(self) -> httpx.Response:
        num = int(self.rng.integers(20, 200))
        keys = self.rng.choice(4 * PEOPLE, size=num, replace=False)
        columns = {
            "feature": self.units(num, self.own),
            "image": np.array([f"{KEY}-{key}" for key in keys]),
            "subject": np.array([f"{NAME}-{key % PEOPLE}" for key in keys]),
            "label_site": np.array([f"{FIELD}-{key % 3}" for key in keys]),
        }
        feature_set = FeatureSet.build(self.own, columns)
        if self.rng.random() < 0.3:
            return self._body("PUT", f"/galleries/{GALLERY}/templates", write_parquet(feature_set), PARQUET)
        return self._body("PUT", f"/galleries/{GALLERY}/templates", write_npz(feature_set), NPZ)

    def identify(self) -> httpx.Response:
        space = self.some_space()
        feature = self.units(1, space)[0]
        sent = feature.tolist() if self.rng.random() < 0.5 else base64.b64encode(feature.tobytes()).decode()
        body: dict[str, Any] = {"gallery": GALLERY, "probe": {"space": space.name, "feature": sent}, "top_k": 10}
        if self.rng.random() < 0.3:
            body["where"] = {"site": [f"{FIELD}-1"], "year": {"at_least": 2}}
        if self.rng.random() < 0.3:
            body["fmr"] = 0.001
        return self.http.post("/identify", json=body)

    def identify_many(self) -> httpx.Response:
        space, body = self.some_space(), io.BytesIO()
        np.save(body, self.units(int(self.rng.integers(2, 64)), space))
        return self._body("POST", f"/identify?gallery={GALLERY}&space={space.name}&top_k=5", body.getvalue(), NPY)

    def identify_picture(self) -> httpx.Response:
        picture = io.BytesIO()
        Image.fromarray(self.rng.integers(0, 255, (112, 112, 3), dtype=np.uint8)).save(picture, "PNG")
        probe = {"space": self.own.name, "image": base64.b64encode(picture.getvalue()).decode()}
        return self.http.post("/identify", json={"gallery": GALLERY, "probe": probe})

    def verify(self) -> httpx.Response:
        sides = {
            side: {"space": space.name, "feature": self.units(1, space)[0].tolist()}
            for side, space in (("a", self.own), ("b", self.some_space()))
        }
        return self.http.post("/verify", json={**sides, "fmr": 0.001})

    def translate(self) -> httpx.Response:
        rows = self.units(int(self.rng.integers(1, 64)), self.other).tolist()
        return self.http.post("/translate", json={"source": self.other.name, "target": self.own.name, "features": rows})

    def look(self) -> httpx.Response:
        paths = [
            f"/galleries/{GALLERY}/templates?limit=500&subject={self.someone()}",
            f"/galleries/{GALLERY}/templates?limit=100",
            f"/galleries/{GALLERY}",
            f"/galleries/{GALLERY}/snapshots",
            "/galleries",
            "/metrics",
            "/spaces",
            "/healthz/ready",
        ]
        return self.http.get(paths[self.rng.integers(len(paths))])

    def remove(self) -> httpx.Response:
        return self.http.delete(f"/galleries/{GALLERY}/subjects/{self.someone()}")

    def nonsense(self) -> httpx.Response:
        feature = self.units(1, self.own)[0].tolist()
        bodies: list[Any] = [
            {"gallery": NAME, "probe": {"space": self.own.name, "feature": feature}},
            {"gallery": GALLERY, "probe": {"space": NAME, "feature": feature}},
            {"gallery": GALLERY, "probe": {"space": self.own.name, "feature": feature[:-1]}},
            {"gallery": GALLERY, "probe": {"space": self.own.name, "feature": feature}, NAME: feature},
            [feature],
            NAME,
        ]
        return self.http.post("/identify", json=bodies[self.rng.integers(len(bodies))])

    def erase(self) -> httpx.Response:
        return self.http.post(f"/galleries/{GALLERY}/erasures", json={"subjects": [self.someone(), self.someone()]})

    def keep(self) -> httpx.Response:
        """Take a snapshot, and put one back, or take away all but the last: there are never many."""
        path = f"/galleries/{GALLERY}/snapshots"
        taken = self.http.post(path)
        kept = [one["snapshot_id"] for one in self.http.get(path).json()["snapshots"]]
        if self.rng.random() < 0.2:
            return self.http.post(f"/galleries/{GALLERY}/restore", json={"snapshot": kept[-1]})
        for snapshot_id in kept[:-3]:
            # Another client may have taken it away.
            taken = self.http.delete(f"{path}/{snapshot_id}")
        return taken

    def other_gallery(self) -> httpx.Response:
        name = f"other-{self.rng.integers(1 << 30)}"
        self.http.post("/galleries", json={"name": name, "space": self.own.name})
        self.http.post(
            f"/galleries/{name}/templates", json={"space": self.own.name, "templates": self.templates(20, self.own)}
        )
        return self.http.delete(f"/galleries/{name}")

    def _body(self, method: str, path: str, data: bytes, media_type: str) -> httpx.Response:
        return self.http.request(method, path, content=data, headers={"content-type": media_type})


def spelt(feature_D: FloatArray) -> Iterator[str]:
    """How a feature may stand in text: digits of its numbers, hexadecimal, base64."""
    for number in feature_D[:4].tolist():
        digits = json.dumps(abs(number))
        if "e" not in digits:
            yield digits[:11]
    piece = feature_D[:6].tobytes()
    yield piece.hex()
    yield base64.b64encode(piece).decode()
