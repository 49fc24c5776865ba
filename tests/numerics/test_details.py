import json

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_curve

from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from training.data.pairs import Pairs
from training.evaluation.bootstrap import mean_interval, tar_interval
from training.evaluation.cross_space import evaluate_translation, gallery_and_probes
from training.evaluation.details import detailed, details_in_common_space
from training.evaluation.identification import genuine_ranks
from training.evaluation.open_set import open_set_layout
from training.evaluation.verification import score_pairs

FloatArray = npt.NDArray[np.float32]
NUM_SUBJECTS, PICTURES = 60, 3


def noisy_pairs(*, subjects: bool = True, pictures: int = PICTURES, num_subjects: int = NUM_SUBJECTS) -> Pairs:
    """Every fifth person has ten times as many pictures."""
    random = np.random.default_rng(0)
    counts = [pictures * (10 if pictures > 1 and number % 5 == 0 else 1) for number in range(num_subjects)]
    face = np.repeat(random.normal(size=(num_subjects, 8)), counts, axis=0)
    who = np.repeat([f"s{number:03d}" if subjects else "" for number in range(num_subjects)], counts)
    columns = {"image": np.array([f"{row:04d}.png" for row in range(len(face))]), "subject": who}
    return Pairs(
        *(
            FeatureSet.build(
                Space(name, 8, f"external:{name}"),
                columns | {"feature": unit_features(face + random.normal(scale=0.7, size=face.shape))},
            )
            for name in ("a", "b")
        )
    )


def as_it_is(source: FloatArray) -> FloatArray:
    return source


def test_the_details_are_those_of_the_rows_that_every_fit_has() -> None:
    pairs = noisy_pairs()
    evaluation, details = evaluate_translation(pairs, as_it_is), detailed(pairs, as_it_is)
    assert details.keys() == evaluation.rows.keys()
    for name, one in details.items():
        row = evaluation.rows[name]
        assert one.cmc[0] == row.rank1
        assert one.cmc[4] == row.rank5
        assert row.rank1 is not None
        assert one.rank1 is not None
        assert one.rank1.low < row.rank1 < one.rank1.high
        assert row.tar_far_1e3 is not None
        assert one.tar_far_1e3 is not None
        assert one.tar_far_1e3.low < row.tar_far_1e3 < one.tar_far_1e3.high


def test_equal_errors_and_misses_by_another_library_and_by_hand() -> None:
    pairs = noisy_pairs()
    subject, feature = pairs.source.subject, pairs.source.feature
    detail = detailed(pairs, as_it_is)["native source"]
    gallery, probes = gallery_and_probes(subject)
    genuine, impostor = score_pairs(feature[probes], subject[probes], feature[gallery], subject[gallery])
    fpr, tpr, _ = roc_curve(np.repeat([1, 0], [len(genuine), len(impostor)]), np.concatenate([genuine, impostor]))
    assert detail.eer == pytest.approx(np.interp(0.0, tpr + fpr - 1.0, fpr), abs=1e-9)
    enrolled, mated, strangers = open_set_layout(subject)
    people = np.unique(subject[strangers])
    assert (detail.num_mated, detail.num_non_mated) == (len(np.unique(subject[mated])), len(people)) == (30, 30)
    template = dict(zip(subject[enrolled].tolist(), enrolled.tolist(), strict=True))
    best = {row: max(feature[row] @ feature[other] for other in enrolled) for row in strangers}

    def share_of_strangers(threshold: float) -> float:
        return float(
            np.mean([np.mean([best[row] >= threshold for row in strangers if subject[row] == name]) for name in people])
        )

    lowest = min(threshold for threshold in best.values() if share_of_strangers(threshold) <= 0.1 + 1e-9)
    missed: dict[str, list[bool]] = {}
    for row in mated:
        name = str(subject[row])
        missed.setdefault(name, []).append(bool(feature[row] @ feature[template[name]] < lowest - 1e-7))
    expected = float(np.mean([np.mean(of_one) for of_one in missed.values()]))
    assert detail.fnir == {"0.003": None, "0.01": None, "0.1": pytest.approx(expected)}
    other = detailed(pairs, as_it_is, seed=1)["native source"].fnir
    assert other != detail.fnir


def test_intervals_are_of_people_with_their_own_scores() -> None:
    pairs = noisy_pairs()
    subject, feature = pairs.source.subject, pairs.source.feature
    detail = detailed(pairs, as_it_is)["native source"]
    gallery, probes = gallery_and_probes(subject)
    ranks = genuine_ranks(feature[probes], subject[probes], feature[gallery], subject[gallery])
    assert detail.rank1 == mean_interval(subject[probes], ranks == 1)
    genuine, impostor = score_pairs(feature[probes], subject[probes], feature[gallery], subject[gallery])
    owner = np.array([name for name in subject[probes] for other in subject[gallery] if name != other])
    assert detail.tar_far_1e3 == tar_interval(genuine, subject[probes], impostor, owner, 1e-3)


def test_few_people_have_figures_and_no_intervals() -> None:
    few = detailed(noisy_pairs(num_subjects=29), as_it_is)["native source"]
    assert (few.rank1, few.tar_far_1e3) == (None, None)
    assert few.eer is not None


def test_one_person_alone_has_no_equal_errors() -> None:
    alone = detailed(noisy_pairs(num_subjects=1), as_it_is)["native source"]
    assert (alone.rank1, alone.eer, alone.cmc[0]) == (None, None, 1.0)


def test_the_details_are_plain_json() -> None:
    documents = [one.to_json() for one in detailed(noisy_pairs(), as_it_is).values()]
    assert json.loads(json.dumps(documents, allow_nan=False))[0]["rank1"].keys() == {"low", "high", "confidence"}


@pytest.mark.parametrize("pairs", [noisy_pairs(subjects=False), noisy_pairs(pictures=1)])
def test_where_nobody_can_be_identified_there_are_no_details(pairs: Pairs) -> None:
    assert detailed(pairs, as_it_is) == {}


def test_in_a_common_space_the_target_is_a_projection() -> None:
    details = details_in_common_space(detailed(noisy_pairs(), as_it_is))
    assert set(details) == {"native source", "projected target", "translated probes", "translated gallery"}
