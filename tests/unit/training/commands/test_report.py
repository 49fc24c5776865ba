"""The report as a user makes it, read as a browser would."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.bundle import read_bundle, write_bundle
from models.confidence import NormEstimate, NormScale
from models.feature_set import FeatureSet
from models.space import Space
from tests.by_hand import confidence_model
from tests.unit.training.commands.test_privacy import painting, write_generator
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.pairs import Pairs, join_by_image
from training.evaluation.cross_space import evaluate_translation, gallery_and_probes
from training.evaluation.report import measure_report
from training.export.loaded import LoadedTranslator, held_out

Run = Callable[..., str]
Fails = Callable[..., str]
Files = dict[str, Path]


class Page(HTMLParser):
    """What a page holds: its text by line, the cells of its tables, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [
            str(given[name]) for name in ("src", "href") if name in given and not str(given[name]).startswith("#")
        ]
        self.loads += [tag] if tag in ("script", "iframe", "object") else []
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(self.words)


def report(files: Files, out: Path, *more: object) -> list[object]:
    return [
        "report",
        "--bundle",
        files["bundle"],
        "--source",
        files["source"],
        "--target",
        files["target"],
        "--out",
        out,
        *more,
    ]


def test_the_page_needs_nothing_beside_it_and_says_what_evaluate_says(run: Run, files: Files, tmp_path: Path) -> None:
    printed = run(*report(files, tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [what for what in page.loads if not what.startswith("data:")] == []
    assert not re.search(r"@import|url\((?!#)", text)
    bundle = read_bundle(files["bundle"])
    pairs = held_out(bundle, join_by_image(load_feature_set(files["source"]), load_feature_set(files["target"])))
    evaluation = evaluate_translation(pairs, LoadedTranslator(bundle, "cpu"))
    assert f"{len(pairs)} of 240 pictures" in printed
    rank1 = evaluation.rows["translated probes"].rank1
    assert f"{rank1:.4f} rank-1, translated probes" in page.text
    shown = {row[0]: row[1:] for row in page.rows if row}
    for name in ("ridge, translated probes", "ridge, translated gallery", "native source", "native target"):
        of = evaluation.rows[name.removeprefix("ridge, ")]
        assert shown[name][0] == f"{of.rank1:.4f}"
    assert text.count("<svg") == 4  # curves, scores and the map; no confidence without stats
    assert "thresholds" in page.text.lower()


def test_fit_puts_a_report_into_its_bundle_unless_told(run: Run, files: Files, tmp_path: Path) -> None:
    in_bundle = (files["bundle"] / "report" / "index.html").read_text(encoding="utf-8")
    assert "test subjects of its split" in Page(in_bundle).text
    words = ("--source", files["source"], "--target", files["target"], "--method", "procrustes")
    run("fit", *words, "--no-report", "--out", tmp_path / "bare")
    assert not (tmp_path / "bare" / "report").exists()


def test_the_same_figures_give_the_same_page(run: Run, files: Files, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        run(*report(files, tmp_path / name))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_it_can_be_put_into_a_new_bundle(run: Run, files: Files, tmp_path: Path) -> None:
    run(*report(files, tmp_path / "page.html", "--subjects", "all", "--into", tmp_path / "with-report"))
    old, new = read_bundle(files["bundle"]), read_bundle(tmp_path / "with-report")
    assert (tmp_path / "with-report" / "report" / "index.html").read_bytes() == (tmp_path / "page.html").read_bytes()
    assert (new.model, new.calibration) == (old.model, old.calibration)
    assert "everybody in these sets" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_confidence_is_drawn_where_there_is_some(run: Run, files: Files, tmp_path: Path, many: Files) -> None:
    run(*report(many, tmp_path / "page.html", "--subjects", "all"))
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "of errors, held by the least confident tenth" in page.text
    assert "share refused, the least confident first" in page.text


def test_confidence_is_of_norms_too(many: Files) -> None:
    pairs = pairs_of(many)
    bundle = read_bundle(many["bundle"])
    plain = bundle.confidence
    assert plain is not None
    log_N = np.log(pairs.source.norms)
    by_norm = replace(plain.plain, weight_F=np.append(np.zeros_like(plain.plain.weight_F), np.float32(1)))
    scale = NormScale(float(log_N.mean()), float(log_N.std()), float(log_N.min()), float(log_N.max()))
    model = replace(plain, with_norm=NormEstimate(scale, by_norm))
    translate = LoadedTranslator(bundle, "cpu")
    figures = [measure_report(pairs, translate, bundle.calibration, one) for one in (plain, model)]
    told = [figure.trust.told_K for figure in figures if figure and figure.trust]
    one, other = told
    assert not np.array_equal(one, other)


@pytest.fixture
def many(run: Run, tmp_path: Path) -> Files:
    """A bundle with thresholds and a hand-made confidence, and sets whose pictures have labels."""
    made, random = {}, np.random.default_rng(0)
    identity = np.repeat(random.normal(size=(200, 6)), 3, axis=0)
    gender = np.repeat(random.choice(["female", "male", ""], 200, p=[0.4, 0.5, 0.1]), 3)
    for name, dimension in (("source", 12), ("target", 10)):
        side = identity @ random.normal(size=(6, dimension)) + 0.5 * random.normal(size=(600, dimension))
        columns = {
            "feature": side.astype(np.float32),
            "image": np.array([f"{row:04d}" for row in range(600)]),
            "subject": np.array([f"s{row // 3:03d}" for row in range(600)]),
            "label_gender": gender,
            "label_camera": np.array([f"c{row}" for row in range(600)]),
        }
        made[name] = tmp_path / f"many-{name}.npz"
        save_feature_set(FeatureSet.build(Space(name, dimension, f"external:{name}"), columns), made[name])
    sets = ("--source", made["source"], "--target", made["target"])
    run("fit", *sets, "--method", "ridge", "--validation", 0.45, "--out", tmp_path / "plain")
    plain = read_bundle(tmp_path / "plain")
    contents = {name: (tmp_path / "plain" / name).read_bytes() for name in plain.manifest.files}
    manifest = replace(plain.manifest, name="many", files={}, digest="")
    write_bundle(tmp_path / "many", manifest, contents | {"stats.npz": confidence_model(12, 10).to_bytes()})
    return made | {"bundle": tmp_path / "many"}


def pairs_of(files: Files) -> Pairs:
    return join_by_image(load_feature_set(files["source"]), load_feature_set(files["target"]))


def test_reconstructions_stand_beside_the_pictures(
    run: Run, fails: Fails, files: Files, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    source = load_feature_set(files["source"])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row, key in enumerate(source.image.tolist()):
        (folder / key).write_bytes(picture(row))
    grey = painting(np.zeros((12, 3), dtype=np.float32), np.full(3, 128, dtype=np.float32))
    generator = write_generator(tmp_path / "paints", grey, source.space)
    faces = ("--images", folder, "--reconstruction", generator, "--subjects", "all")
    assert "pages without faces" in fails(*report(files, tmp_path / "p.html", *faces, "--into", tmp_path / "new"))
    run(*report(files, tmp_path / "page.html", *faces))
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(page.loads) == 40
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in page.loads]
    assert all((one == 128).all() for one in shown[20:])
    assert not any((one == 128).all() for one in shown[:20])


def test_groups_are_judged_at_the_threshold_of_all(run: Run, many: Files, tmp_path: Path) -> None:
    bundle, pairs = read_bundle(many["bundle"]), pairs_of(many)
    translator = LoadedTranslator(bundle, "cpu")
    figures = measure_report(pairs, translator, bundle.calibration, bundle.confidence)
    assert figures is not None
    # What each picture has for itself is no group.
    assert [(one.label, one.value) for one in figures.slices] == [("gender", "female"), ("gender", "male")]
    gallery, probes = gallery_and_probes(pairs.source.subject)
    threshold = next(p.threshold for p in bundle.calibration.points["translated"] if p.fmr == figures.slice_fmr)
    translated, subject = translator(pairs.source.feature), pairs.source.subject
    gender = pairs.source.labels["gender"]
    for one in figures.slices:
        missed, matched = [], []
        for probe in probes[gender[probes] == one.value]:
            for stored in gallery:
                score = float(translated[probe] @ pairs.target.feature[stored])
                if subject[probe] == subject[stored]:
                    missed.append(score < threshold)
                elif gender[stored] == one.value:
                    matched.append(score >= threshold)
        assert one.num_probes == len(missed)
        assert one.fnmr == pytest.approx(np.mean(missed), abs=2e-3)
        assert one.fmr == pytest.approx(np.mean(matched), abs=2e-4)
    run(*report(many, tmp_path / "page.html", "--subjects", "all"))
    rows = {row[0]: row for row in Page((tmp_path / "page.html").read_text(encoding="utf-8")).rows if row}
    assert rows["gender: female"][2] == str(figures.slices[0].num_probes)


def test_confidence_figures_are_what_came_of_probes(many: Files) -> None:
    bundle, pairs = read_bundle(many["bundle"]), pairs_of(many)
    translator = LoadedTranslator(bundle, "cpu")
    figures = measure_report(pairs, translator, bundle.calibration, bundle.confidence)
    assert figures is not None
    assert figures.trust is not None
    assert (np.diff(figures.trust.told_K) >= 0).all()
    rank1 = evaluate_translation(pairs, translator).rows["translated probes"].rank1
    assert rank1 is not None
    assert figures.trust.error_K[0] == pytest.approx(1 - rank1)
    assert 0 <= figures.trust.held <= 1


def test_without_subjects_there_are_no_curves(run: Run, files: Files, tmp_path: Path) -> None:
    sets = ("--source", files["unlabelled_source"], "--target", files["unlabelled_target"])
    run("fit", *sets, "--method", "ridge", "--report", "--out", tmp_path / "unknown")
    page = Page((tmp_path / "unknown" / "report" / "index.html").read_text(encoding="utf-8"))
    assert "Nobody knows who is on them" in page.text
    assert [row[0] for row in page.rows if row[0].startswith("ridge")] == ["ridge, translated probes"]


def test_what_does_not_belong_together_is_refused(fails: Fails, files: Files, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "must end in .html" in fails(*report(files, tmp_path / "page.txt"))
    assert "belong together" in fails(*report(files, page, "--images", tmp_path))
    assert "exists already" in fails(*report(files, page, "--into", files["bundle"]))
    swapped = {"bundle": files["bundle"], "source": files["target"], "target": files["source"]}
    assert "translates from" in fails(*report(swapped, page))
    assert not page.exists()


def test_metrics_that_another_exporter_wrote_do_no_harm(run: Run, files: Files, tmp_path: Path) -> None:
    old = read_bundle(files["bundle"])
    contents = {name: (files["bundle"] / name).read_bytes() for name in old.manifest.files}
    odd: list[dict[str, Any]] = [
        {"compared": None},
        {"compared": []},
        {"compared": {"ridge": None, "other": {"test": {"rows": {"upside down": {"rank1": 1}, "native source": 3}}}}},
    ]
    for place, metrics in enumerate(odd):
        manifest = replace(old.manifest, name=f"odd-{place}", metrics=metrics, files={}, digest="")
        write_bundle(tmp_path / f"odd-{place}", manifest, contents)
        run(*report(files | {"bundle": tmp_path / f"odd-{place}"}, tmp_path / f"page-{place}.html"))


def test_names_are_text_and_nothing_else(run: Run, files: Files, tmp_path: Path) -> None:
    old = read_bundle(files["bundle"])
    contents = {name: (files["bundle"] / name).read_bytes() for name in old.manifest.files}
    manifest = replace(old.manifest, name="odd", licence="<script>alert(1)</script>", files={}, digest="")
    write_bundle(tmp_path / "odd", manifest, contents)
    run(*report(files | {"bundle": tmp_path / "odd"}, tmp_path / "page.html"))
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.loads == []
    assert "<script>alert(1)</script>" in page.text
