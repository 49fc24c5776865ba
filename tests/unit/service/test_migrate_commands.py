"""`facebridge migrate`: on a data folder, on a running service, and on feature sets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from models.feature_set import FeatureSet, write_npz
from models.parquet import read_parquet, write_parquet
from models.space import Space
from service.cli import run
from service.entities import NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.usecases.receipts import check_sealed
from tests.api.world import A_TO_B, B_TO_C, A, B, C, D, by_hand, features, unit, write_world
from tests.serving import serving

GATES = json.dumps({"min_overlap": 0, "min_retention": 0, "max_negative_flips": 1, "num_samples": 40})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A gallery of forty people in the space a, each twice."""
    store = EmbeddedGalleryStore(tmp_path / "data")
    store.create("people", A)
    rows = unit(np.repeat(features(40, 8), 2, axis=0) + 0.1 * features(80, 8, seed=1)).astype(np.float32)
    store.enrol("people", NewTemplates([f"s{row // 2}" for row in range(80)], rows, A, rows, A))
    store.close()
    return tmp_path / "data"


def job_of(text: str) -> str:
    found = re.search(r"job ([0-9a-f]{16})", text)
    assert found is not None
    return found[1]


def feature_set(space: Space, num: int, seed: int = 3) -> FeatureSet:
    rows = unit(features(num, space.dimension, seed=seed)).astype(np.float32)
    images = np.array([f"p{row}.jpg" for row in range(num)])
    return FeatureSet.build(
        space, {"feature": rows, "image": images, "subject": np.array([f"s{row}" for row in range(num)])}
    )


class TestOnADataFolder:
    def test_a_gallery_goes_and_comes_back(
        self, data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data", str(data), "--bundles", str(bundles), "--device", "cpu"]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, *where]) == 0
        out = capsys.readouterr().out
        job = job_of(out)
        assert "ready: 80 of 80" in out
        assert f"next: facebridge migrate cutover {job}" in out
        assert run(["migrate", "verdict", job, "--out", str(tmp_path / "v.json"), *where]) == 0
        assert check_sealed((tmp_path / "v.json").read_bytes(), "verdict")["job"] == job
        assert run(["migrate", "verdict", job, "--out", str(tmp_path / "v.html"), *where]) == 0
        assert (tmp_path / "v.html").read_text().startswith("<!doctype html>")
        for order, state, generation in (("cutover", "cut-over", 2), ("rollback", "rolled-back", 1)):
            assert run(["migrate", order, job, *where]) == 0
            assert f"job {job} is {state}" in capsys.readouterr().out
            store = EmbeddedGalleryStore(data)
            assert store.get("people").generation == generation
            store.close()
        assert run(["migrate", "list", "people", *where]) == 0
        assert "rolled-back" in capsys.readouterr().out

    def test_gates_that_fail_are_told_by_the_exit_code(
        self, data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        where = ["--data", str(data), "--bundles", str(bundles)]
        gates = tmp_path / "gates.json"
        gates.write_text(json.dumps({"min_overlap": 1.0, "num_samples": 40}))
        assert run(["migrate", "start", "people", "--target", "b", "--gates", str(gates), "--cutover", *where]) == 1
        out = capsys.readouterr().out
        assert "failed" in out
        job = job_of(out)
        assert run(["migrate", "cutover", job, *where]) == 2
        assert "gates-failed" in capsys.readouterr().err
        assert run(["migrate", "cutover", job, "--force", *where]) == 0

    def test_it_cuts_over_by_itself(self, data: Path, bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
        where = ["--data", str(data), "--bundles", str(bundles)]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, "--cutover", *where]) == 0
        assert "is cut-over" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["start", "people", "--target", "d"], "no-route"),
            (["start", "people", "--target", "a"], "invalid-request"),
            (["start", "nobody", "--target", "b"], "not-found"),
            (["start", "people", "--target", "b", "--route", "b-to-c"], "no-route"),
            (["status", "0123456789abcdef"], "not-found"),
        ],
    )
    def test_what_cannot_be_is_one_line(
        self, data: Path, bundles: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["migrate", *arguments, "--data", str(data), "--bundles", str(bundles)]) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"facebridge migrate: {words}: ")
        assert line.count("\n") == 1


def test_a_running_service_is_told_what_to_do(
    data: Path, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(bundles, data, "--log-level", "warning") as served:
        where = ["--url", served.url]
        assert run(["migrate", "start", "people", "--target", "b", "--gates", GATES, "--no-wait", *where]) == 0
        job = job_of(capsys.readouterr().out)
        assert run(["migrate", "watch", job, *where]) == 0
        assert "ready" in capsys.readouterr().out
        probes = tmp_path / "probes.npz"
        probes.write_bytes(write_npz(feature_set(A, 5)))
        assert run(["migrate", "probes", job, str(probes), *where]) == 0
        assert run(["migrate", "cutover", job, *where]) == 0
        assert run(["migrate", "cancel", job, *where]) == 2
        assert "job-state" in capsys.readouterr().err
    assert run(["migrate", "status", job, "--url", served.url]) == 2
    assert "cannot be reached" in capsys.readouterr().err


class TestFiles:
    def test_feature_sets_are_translated_with_their_confidence_left_unsaid(
        self, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        one, other = feature_set(A, 7), feature_set(B, 5)
        (tmp_path / "one.npz").write_bytes(write_npz(one))
        (tmp_path / "other.parquet").write_bytes(write_parquet(other))
        inputs = [str(tmp_path / "one.npz"), str(tmp_path / "other.parquet")]
        where = ["--bundles", str(bundles), "--out", str(tmp_path / "out")]
        assert run(["migrate", "files", *inputs, "--target", "c", *where]) == 0
        assert "7 features" in capsys.readouterr().out
        first = read_parquet((tmp_path / "out" / "one.c.parquet").read_bytes())
        second = read_parquet((tmp_path / "out" / "other.c.parquet").read_bytes())
        assert (first.space, first.image.tolist(), first.subject.tolist()) == (
            C,
            one.image.tolist(),
            one.subject.tolist(),
        )
        assert first.is_translated
        np.testing.assert_allclose(first.feature, by_hand(one.feature, A_TO_B, B_TO_C), atol=1e-5)
        np.testing.assert_allclose(second.feature, by_hand(other.feature, B_TO_C), atol=1e-5)

    def test_what_is_there_already_or_cannot_go_there_is_refused(
        self, bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for space, words in ((C, "is in the space c already"), (D, "no route leads")):
            path = tmp_path / f"{space.name}.npz"
            path.write_bytes(write_npz(feature_set(space, 3)))
            where = ["--target", "c", "--bundles", str(bundles), "--out", str(tmp_path / "out")]
            assert run(["migrate", "files", str(path), *where]) == 2
            assert words in capsys.readouterr().err
        assert (
            run(
                [
                    "migrate",
                    "files",
                    str(path),
                    "--target",
                    "nowhere",
                    "--bundles",
                    str(bundles),
                    "--out",
                    str(tmp_path),
                ]
            )
            == 2
        )
        (tmp_path / "x.csv").write_text("1,2")
        assert (
            run(["migrate", "files", str(tmp_path / "x.csv"), "--target", "c", "--bundles", str(bundles), "--out", "o"])
            == 2
        )
