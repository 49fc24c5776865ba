import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.bundle import Bundle, Manifest, Provenance, read_bundle, write_bundle
from models.calibration import Calibration
from models.documents import canonical_json, readable_json
from models.errors import BundleError, GraphError
from models.operating_point import operating_points
from models.space import InputPreparation, Space
from models.split import SplitRule

CALIBRATION = Calibration({"translated": operating_points(np.linspace(0, 1, 50), np.linspace(-1, 1, 4000), (1e-2,))})
MANIFEST = Manifest(
    name="weak-to-strong",
    kind="translator",
    method="procrustes",
    source=Space("weak", 4, "external:weak"),
    target=Space("strong", 3, "sha256:" + "1" * 64, InputPreparation(colour="BGR")),
    input_name="x",
    output_name="y",
    opset=18,
    licence="MIT",
    provenance=Provenance(
        created_at="2025-01-02T03:04:05Z",
        code_version="0.1.0",
        libraries={"numpy": "2.0"},
        data_digests={"source": "ab" * 32},
        seed=7,
        split=SplitRule("subject", 7, 0.1, 0.2),
        hyperparameters={"rank": 3, "alpha": 1e-4, "note": "Zoë", "steps": [1, 2], "none": None, "on": True},
    ),
    metrics={"rank_1": 0.9375, "by": {"eer": 0.01}},
)


@pytest.fixture
def files(linear_model: onnx.ModelProto) -> dict[str, bytes]:
    return {
        "model.onnx": linear_model.SerializeToString(),
        "calibration.json": readable_json(CALIBRATION.to_json()),
        "MODEL_CARD.md": "# Weak to strong, for Zoë\n".encode(),
        "report/curves/det.csv": b"fmr,fnmr\n0.01,0.5\n",
    }


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    write_bundle(tmp_path / "weak-to-strong", MANIFEST, files)
    return tmp_path / "weak-to-strong"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its own digest right again, as an attacker would."""
    manifest = json.loads((folder / "bundle.json").read_text())
    change(manifest)
    manifest["digest"] = sha256(canonical_json({k: v for k, v in manifest.items() if k != "digest"})).hexdigest()
    (folder / "bundle.json").write_bytes(readable_json(manifest))


def refused(folder: Path, match: str) -> str:
    with pytest.raises(BundleError, match=match) as failure:
        read_bundle(folder)
    assert str(failure.value).isprintable()
    return str(failure.value)


class TestRoundTrip:
    def test_a_bundle_is_read_as_it_was_written(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        written = write_bundle(tmp_path / "b", MANIFEST, files)
        bundle = read_bundle(tmp_path / "b")
        assert isinstance(bundle, Bundle)
        assert bundle.manifest == written
        assert replace(written, files={}, digest="") == MANIFEST
        assert bundle.model == files["model.onnx"]
        assert bundle.calibration == CALIBRATION
        assert (bundle.graph.input_name, bundle.graph.input_shape) == ("x", (None, 4))
        assert tree(tmp_path / "b").keys() == files.keys() | {"bundle.json"}

    def test_the_manifest_holds_the_sha256_of_every_file(self, folder: Path, files: dict[str, bytes]) -> None:
        written = json.loads((folder / "bundle.json").read_text())
        assert written["files"] == {name: sha256(data).hexdigest() for name, data in files.items()}
        digest = written.pop("digest")
        text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest == sha256(text.encode()).hexdigest()

    def test_the_same_content_gives_the_same_bytes_anywhere(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        write_bundle(tmp_path / "one", MANIFEST, files)
        write_bundle(tmp_path / "deep" / "er" / "two", MANIFEST, dict(reversed(files.items())))
        assert tree(tmp_path / "one") == tree(tmp_path / "deep" / "er" / "two")

    def test_whole_numbers_where_fractions_belong_can_be_read_again(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        provenance = replace(MANIFEST.provenance, split=SplitRule("image", 1, 0, 0))
        target = Space("strong", 3, "external:e", InputPreparation(mean=(0, 0, 0), std=(1, 2, 3)))
        written = write_bundle(tmp_path / "b", replace(MANIFEST, provenance=provenance, target=target), files)
        assert read_bundle(tmp_path / "b").manifest == written

    def test_every_finite_float_survives_in_hyperparameters(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        generator = np.random.default_rng(0)
        values = (generator.normal(size=500) * 10.0 ** generator.integers(-300, 300, size=500)).tolist()
        values += [5e-324, 1.7976931348623157e308, -0.0, 1e16, 0.1, 2.0**53]
        provenance = replace(MANIFEST.provenance, hyperparameters={"values": values, "huge": 2**70})
        write_bundle(tmp_path / "b", replace(MANIFEST, provenance=provenance), files)
        assert read_bundle(tmp_path / "b").manifest.provenance.hyperparameters == {"values": values, "huge": 2**70}

    def test_an_encoder_has_no_source_space(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, 112, 112])
        model = onnx.load_model_from_string(files["model.onnx"])
        model.graph.input[0].CopyFrom(picture)
        files["model.onnx"] = model.SerializeToString()
        write_bundle(tmp_path / "e", replace(MANIFEST, kind="encoder", source=None), files)
        assert read_bundle(tmp_path / "e").graph.input_shape == (None, 3, 112, 112)

    def test_reading_leaves_the_folder_as_it_was(self, folder: Path) -> None:
        before = tree(folder)
        read_bundle(folder)
        assert tree(folder) == before


class TestDamage:
    def test_every_seventh_flipped_bit_of_every_file_is_detected(self, folder: Path) -> None:
        num_flips = 0
        for name, data in tree(folder).items():
            for number, position in enumerate(range(0, len(data), 7)):
                damaged = bytearray(data)
                damaged[position] ^= 1 << number % 8
                (folder / name).write_bytes(damaged)
                with pytest.raises(BundleError):
                    read_bundle(folder)
                num_flips += 1
            (folder / name).write_bytes(data)
        assert num_flips > 200
        sys.stdout.write(f"{num_flips} turned bits of a bundle: every one seen\n")
        assert read_bundle(folder).manifest.name == "weak-to-strong"

    def test_every_eleventh_truncation_of_every_file_is_detected(self, folder: Path) -> None:
        num_cuts = 0
        for name, data in tree(folder).items():
            for length in [*range(0, len(data), 11), len(data) - 1]:
                (folder / name).write_bytes(data[:length])
                with pytest.raises(BundleError):
                    read_bundle(folder)
                num_cuts += 1
            (folder / name).write_bytes(data)
        assert read_bundle(folder).manifest.name == "weak-to-strong"
        sys.stdout.write(f"{num_cuts} cuts of a bundle: every one seen\n")

    def test_bytes_after_the_end_of_any_file_are_detected(self, folder: Path) -> None:
        for name, data in tree(folder).items():
            (folder / name).write_bytes(data + b"\n")
            with pytest.raises(BundleError):
                read_bundle(folder)
            (folder / name).write_bytes(data)

    def test_every_missing_file_is_detected(self, folder: Path) -> None:
        for name, data in tree(folder).items():
            (folder / name).unlink()
            with pytest.raises(BundleError):
                read_bundle(folder)
            (folder / name).write_bytes(data)

    @pytest.mark.parametrize("name", ["extra.bin", "report/extra.csv", ".hidden", "new\nline", "model.onnx.data"])
    def test_a_stray_file_is_refused(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(b"")
        refused(folder, "does not name")

    def test_a_stray_link_or_linked_folder_is_refused(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "secret").write_bytes(b"")
        for target in ("elsewhere", "elsewhere/secret", "nowhere"):
            (folder / "link").symlink_to(tmp_path / target)
            refused(folder, "does not name")
            (folder / "link").unlink()

    @pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "calibration.json"])
    def test_a_linked_file_is_refused_though_its_bytes_are_right(self, folder: Path, name: str) -> None:
        moved = folder.parent / "moved"
        (folder / name).rename(moved)
        (folder / name).symlink_to(moved)
        refused(folder, "not a plain file")

    def test_a_linked_folder_is_refused_though_its_files_are_right(self, folder: Path) -> None:
        (folder / "report").rename(folder.parent / "moved")
        (folder / "report").symlink_to(folder.parent / "moved")
        refused(folder, "does not name")

    def test_a_pipe_is_refused_and_not_waited_for(self, folder: Path) -> None:
        (folder / "model.onnx").unlink()
        os.mkfifo(folder / "model.onnx")
        refused(folder, "not a plain file")

    def test_a_folder_in_the_place_of_a_file_is_refused(self, folder: Path) -> None:
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").mkdir()
        refused(folder, "model.onnx")

    def test_what_is_not_a_bundle_is_refused(self, tmp_path: Path) -> None:
        refused(tmp_path, "bundle.json: missing")
        refused(tmp_path / "nowhere", "bundle.json: missing")


class TestForgery:
    @pytest.mark.parametrize(
        "name", ["../secret", "report/../../secret", "./MODEL_CARD.md", "report//x", "bundle.json"]
    )
    def test_a_manifest_cannot_reach_outside_its_folder(self, folder: Path, name: str) -> None:
        (folder.parent / "secret").write_bytes(b"secret")
        forge(folder, lambda manifest: manifest["files"].update({name: sha256(b"secret").hexdigest()}))
        refused(folder, "not among its files")

    def test_a_manifest_cannot_name_an_absolute_path(self, folder: Path) -> None:
        secret = folder.parent / "secret"
        secret.write_bytes(b"secret")
        forge(folder, lambda manifest: manifest["files"].update({str(secret): sha256(b"secret").hexdigest()}))
        refused(folder, "not among its files")

    @pytest.mark.parametrize("name", ["model.onnx", "calibration.json"])
    def test_a_manifest_must_name_model_and_calibration(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        forge(folder, lambda manifest: manifest["files"].pop(name))
        refused(folder, f"names no {name}")

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2},
            {"kind": "gan"},
            {"name": "Bad Name"},
            {"opset": "18"},
            {"opset": 17},
            {"extra": 1},
            {"source": None},
            {"kind": "encoder"},
            {"input_name": "z"},
            {"output_name": "z"},
            {"target": {}},
            {"files": {"model.onnx": "abc"}},
        ],
        ids=str,
    )
    def test_a_manifest_with_a_right_digest_is_checked_all_the_same(self, folder: Path, change: dict[str, Any]) -> None:
        forge(folder, lambda manifest: manifest.update(change))
        refused(folder, "weak-to-strong")

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 5000])
    def test_numbers_that_json_does_not_know_are_refused(self, folder: Path, number: str) -> None:
        text = (folder / "bundle.json").read_text()
        assert "0.9375" in text
        (folder / "bundle.json").write_text(text.replace("0.9375", number))
        refused(folder, "bundle.json: ")

    def test_a_manifest_written_in_another_way_is_refused(self, folder: Path) -> None:
        manifest = json.loads((folder / "bundle.json").read_text())
        (folder / "bundle.json").write_bytes(canonical_json(manifest))
        refused(folder, "was changed after it was written")

    def test_a_key_given_twice_is_refused(self, folder: Path) -> None:
        text = (folder / "bundle.json").read_text()
        (folder / "bundle.json").write_text(text.replace('"licence": "MIT"', '"licence": "GPL",\n  "licence": "MIT"'))
        refused(folder, "was changed after it was written")

    def test_a_graph_that_is_not_allowed_is_refused_though_its_digest_is_right(self, folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        model.graph.node[0].op_type = "Loop"
        data = model.SerializeToString()
        (folder / "model.onnx").write_bytes(data)
        forge(folder, lambda manifest: manifest["files"].update({"model.onnx": sha256(data).hexdigest()}))
        refused(folder, "weak-to-strong/model.onnx: uses an operator")

    def test_a_calibration_that_is_damaged_is_refused_though_its_digest_is_right(self, folder: Path) -> None:
        (folder / "calibration.json").write_bytes(b"{]")
        digest = sha256(b"{]").hexdigest()
        forge(folder, lambda manifest: manifest["files"].update({"calibration.json": digest}))
        refused(folder, "calibration.json")


class TestWriting:
    @pytest.mark.parametrize("kind", ["folder", "empty folder", "file"])
    def test_what_already_stands_there_is_left_alone(self, tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
        place = tmp_path / "b"
        if kind == "file":
            place.write_bytes(b"precious")
        else:
            place.mkdir()
            if kind == "folder":
                (place / "precious").write_bytes(b"precious")
        before = tree(tmp_path)
        with pytest.raises(BundleError, match="exists already"):
            write_bundle(place, MANIFEST, files)
        assert tree(tmp_path) == before
        assert list(tmp_path.iterdir()) == [place]

    def test_a_bundle_is_never_written_over(self, folder: Path, files: dict[str, bytes]) -> None:
        before = tree(folder)
        with pytest.raises(BundleError, match="immutable"):
            write_bundle(folder, replace(MANIFEST, method="ridge"), files)
        assert tree(folder) == before

    @pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
    @pytest.mark.parametrize("after", [0, 1, 4])
    def test_a_failed_write_leaves_nothing_behind(
        self,
        tmp_path: Path,
        files: dict[str, bytes],
        monkeypatch: pytest.MonkeyPatch,
        fault: BaseException,
        after: int,
    ) -> None:
        write_bytes = Path.write_bytes
        written: list[Path] = []

        def failing(path: Path, data: bytes) -> int:
            if len(written) == after:
                write_bytes(path, data[: len(data) // 2])
                raise fault
            written.append(path)
            return write_bytes(path, data)

        monkeypatch.setattr(Path, "write_bytes", failing)
        with pytest.raises(type(fault)):
            write_bundle(tmp_path / "b", MANIFEST, files)
        assert len(written) == after
        assert list(tmp_path.iterdir()) == []

    def test_a_failed_rename_leaves_nothing_behind(
        self, tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="Input/output"):
            write_bundle(tmp_path / "b", MANIFEST, files)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["model.onnx", "calibration.json"])
    def test_a_bundle_needs_model_and_calibration(self, tmp_path: Path, files: dict[str, bytes], name: str) -> None:
        del files[name]
        with pytest.raises(BundleError, match=f"needs {name}"):
            write_bundle(tmp_path / "b", MANIFEST, files)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "name", ["bundle.json", "../evil", "a/../../evil", "/evil", "", ".", "..", "./a", "a//b", "a/"]
    )
    def test_a_file_cannot_be_written_outside_or_over_the_manifest(
        self, tmp_path: Path, files: dict[str, bytes], name: str
    ) -> None:
        with pytest.raises(BundleError, match="cannot be the name of a file"):
            write_bundle(tmp_path / "b", MANIFEST, {**files, name: b""})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "Bad Name"},
            {"metrics": {"eer": float("nan")}},
            {"metrics": {"eer": [float("inf")]}},
            {"kind": "gan"},
            {"source": None},
            {"kind": "encoder"},
            {"kind": "sampler", "source": None},
            {"input_name": "features"},
            {"output_name": "features"},
            {"opset": 17},
            {"source": Space("weak", 5, "external:weak")},
            {"target": Space("strong", 4, "external:strong")},
            {"target": Space("Bad Name", 3, "external:strong")},
        ],
        ids=str,
    )
    def test_a_manifest_that_could_not_be_read_again_is_not_written(
        self, tmp_path: Path, files: dict[str, bytes], change: dict[str, Any]
    ) -> None:
        with pytest.raises(BundleError):
            write_bundle(tmp_path / "b", replace(MANIFEST, **change), files)
        assert list(tmp_path.iterdir()) == []

    def test_a_calibration_that_could_not_be_read_again_is_not_written(
        self, tmp_path: Path, files: dict[str, bytes]
    ) -> None:
        with pytest.raises(BundleError, match=r"calibration\.json"):
            write_bundle(tmp_path / "b", MANIFEST, files | {"calibration.json": b"{}]"})
        assert list(tmp_path.iterdir()) == []

    def test_a_graph_that_is_not_allowed_is_not_written(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        with pytest.raises(GraphError, match="not an ONNX model"):
            write_bundle(tmp_path / "b", MANIFEST, files | {"model.onnx": b"\xff"})
        assert list(tmp_path.iterdir()) == []

    def test_a_fixed_batch_is_refused(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        model = onnx.load_model_from_string(files["model.onnx"])
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        with pytest.raises(BundleError, match="batch extent"):
            write_bundle(tmp_path / "b", MANIFEST, files | {"model.onnx": model.SerializeToString()})

    def test_an_input_without_a_shape_is_refused(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        model = onnx.load_model_from_string(files["model.onnx"])
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
        with pytest.raises(BundleError, match="batch extent"):
            write_bundle(tmp_path / "b", MANIFEST, files | {"model.onnx": model.SerializeToString()})

    def test_an_output_without_a_shape_is_refused(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        model = onnx.load_model_from_string(files["model.onnx"])
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
        with pytest.raises(BundleError, match="target space's dimension"):
            write_bundle(tmp_path / "b", MANIFEST, files | {"model.onnx": model.SerializeToString()})


def test_a_damaged_bundle_named_by_a_dot_is_called_by_its_folders_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "stray").touch()
    assert refused(Path(), "weak-to-strong: holds a file").startswith("weak-to-strong: ")
    (folder / "bundle.json").unlink()
    assert refused(Path(), "missing").startswith("weak-to-strong/bundle.json: ")
