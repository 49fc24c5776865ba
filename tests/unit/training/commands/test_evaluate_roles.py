"""Probes of a list against its gallery in the space of one encoder, as a user asks for it in process."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.feature_set import FeatureSet
from training.data.feature_set_files import load_feature_set, save_feature_set

Run = Callable[..., str]
Fails = Callable[..., str]


def test_one_encoder_is_measured_with_roles_and_nothing_else(
    run: Run, fails: Fails, files: dict[str, Path], tmp_path: Path
) -> None:
    source = ("evaluate", "--source", files["source"])
    assert "or --roles to measure one encoder" in fails(*source)
    for option, value in (("--target", files["target"]), ("--pairs", "pairs.csv"), ("--subjects", "all")):
        assert f"{option} is for a translator" in fails(*source, "--roles", "roles.csv", option, value)
    assert "give features of both" in fails(*source, "--bundle", files["bundle"])
    assert "cannot be read" in fails(*source, "--roles", tmp_path / "none.csv")
    found = load_feature_set(files["source"])
    roles = tmp_path / "roles.csv"
    lines = [f"{key},{'gallery' if row % 4 else 'probe'}" for row, key in enumerate(found.image.tolist())]
    roles.write_text("\n".join(["image,role", *lines]) + "\n")
    run(*source, "--roles", roles, "--json", tmp_path / "figures.json")
    probe, stored = np.arange(240) % 4 == 0, np.arange(240) % 4 != 0
    score = found.feature[probe] @ found.feature[stored].T
    best = found.subject[stored][np.argsort(-score, axis=1)]
    own = found.subject[probe][:, None]
    figures = json.loads((tmp_path / "figures.json").read_text())["roles"]["figures"]["native"]
    assert figures["rank1"]["mean"] == pytest.approx(np.mean(best[:, 0] == own[:, 0]))
    is_own = found.subject[stored] == own
    threshold = np.sort(score[~is_own])[::-1][int(0.01 * (~is_own).sum())]
    assert figures["tar_far_1e2"]["mean"] == pytest.approx(np.mean(score[is_own] > threshold), abs=0.02)


def test_no_role_that_is_measured_is_refused_without_a_word_on_subjects(
    fails: Fails, files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "roles.csv").write_text("image,role\nnobody.png,probe\n0001.png,gallery\n")
    line = fails("evaluate", "--source", files["source"], "--roles", tmp_path / "roles.csv")
    assert line.endswith("has 0 probes and 1 gallery pictures among those that are measured")


def test_two_modalities_of_one_encoder_need_no_list(
    run: Run, fails: Fails, files: dict[str, Path], tmp_path: Path
) -> None:
    source = load_feature_set(files["source"])
    assert "do not say of which modality" in fails(
        "evaluate", "--source", files["source"], "--roles", "sketch-to-photo"
    )
    modality = np.where(np.arange(240) % 4 == 0, "sketch", "photo")
    drawn = tmp_path / "drawn.npz"
    save_feature_set(FeatureSet.build(source.space, source.columns() | {"modality": modality}), drawn)
    printed = run("evaluate", "--source", drawn, "--roles", "sketch-to-photo")
    assert "240 of the list's 240 pictures, 1 fold(s)" in printed


def test_features_that_a_translator_made_are_not_called_native(
    run: Run, files: dict[str, Path], tmp_path: Path
) -> None:
    out, roles = tmp_path / "translated.npz", tmp_path / "roles.csv"
    run("translate", "--bundle", files["bundle"], "--in", files["source"], "--out", out)
    roles.write_text("image,role\n0000.png,probe\n0001.png,gallery\n")
    run("evaluate", "--source", out, "--roles", roles, "--json", tmp_path / "figures.json")
    assert list(json.loads((tmp_path / "figures.json").read_text())["roles"]["figures"]) == ["translated"]


def test_pictures_of_nobody_in_particular_have_no_roles(fails: Fails, files: dict[str, Path]) -> None:
    line = fails("evaluate", "--source", files["unlabelled_source"], "--roles", "sketch-to-photo")
    assert "say who is on their pictures" in line
