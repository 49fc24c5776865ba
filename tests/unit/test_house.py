"""The house's own rules, held on the syntax tree: lengths, names, imports, and what must never be in it."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("models", "training", "service", "benchmarks", "deploy")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

DEMO_BUNDLES = ROOT / "deploy" / "demo" / "bundles"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
BANNED_NAMES = frozenset({"utils", "util", "helpers", "helper", "misc", "core", "manager", "managers", "common"})
BANNED_ENDINGS = ("Manager", "Helper", "Utils", "Util")
BANNED_IMPORTS = frozenset({"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"})
CATCHES_EVERYTHING = frozenset(
    {
        "service/access/audit.py",
        "service/inference/batcher.py",
        "service/api/access.py",
        "service/api/middleware.py",
        "service/galleries/writer.py",
        "service/galleries/background.py",
        "service/jobs/runner.py",
    }
)
"""Workers' boundaries: whoever waits hears of it."""


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 60


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MAX_FILE_LINES


@pytest.mark.parametrize("path", FILES, ids=place)
def test_functions_are_short_enough_to_read(path: Path) -> None:
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions(path)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", FILES, ids=place)
def test_names_say_what_a_thing_is(path: Path) -> None:
    assert not BANNED_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)
    classes = [node.name for node in nodes(path) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(BANNED_ENDINGS)] == []


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_stand_at_the_top(path: Path) -> None:
    hidden = [
        node.lineno
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


@pytest.mark.parametrize("path", FILES, ids=place)
def test_nothing_that_runs_code_from_data_is_imported(path: Path) -> None:
    imported = {
        alias.name.split(".")[0] for node in nodes(path) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in nodes(path) if isinstance(node, ast.ImportFrom)}
    assert not imported & BANNED_IMPORTS


@pytest.mark.parametrize("path", FILES, ids=place)
def test_only_workers_catch_everything(path: Path) -> None:
    caught = [
        handler.lineno
        for handler in nodes(path)
        if isinstance(handler, ast.ExceptHandler)
        and (handler.type is None or (isinstance(handler.type, ast.Name) and handler.type.id == "Exception"))
    ]
    assert caught == [] or place(path) in CATCHES_EVERYTHING


def test_no_weights_pictures_or_features_are_in_the_repository() -> None:
    endings = {".onnx", ".npz", ".npy", ".parquet", ".jpg", ".jpeg", ".pkl", ".pt", ".pth", ".ckpt"}
    rooms = [*ROOMS, "tests", "docs"]
    found = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix.lower() in endings]
    assert [place(path) for path in found if not path.is_relative_to(DEMO_BUNDLES)] == []


def test_no_keys_and_nothing_that_a_service_writes_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    endings = {".pem", ".key", ".sqlite3", ".segment", ".index"}
    assert [name for name in listed.stdout.splitlines() if Path(name).suffix.lower() in endings] == []


def test_the_demos_models_are_few_and_small() -> None:
    """They were trained on people who do not exist, by commands that stand beside them."""
    sizes = {place(path): path.stat().st_size for path in DEMO_BUNDLES.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in sizes} == {".onnx", ".json", ".md"}
    assert sum(sizes.values()) < 10_000_000
