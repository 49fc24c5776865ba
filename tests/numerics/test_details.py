import json

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_curve

from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from training.data.pairs import Pairs
from training.evaluation.cross_space import evaluate_translation, gallery_and_probes
from training.evaluation.details import detailed
from training.evaluation.open_set import open_set_layout
from training.evaluation.verification import score_pairs

FloatArray = npt.NDArray[np.float32]
NUM_SUBJECTS, PICTURES = 60, 3


def noisy_pairs(*, subjects: bool = True, pictures: int = PICTURES) -> Pairs:
    random = np.random.default_rng(0)
    face = np.repeat(random.normal(size=(NUM_SUBJECTS, 8)), pictures, axis=0)
    who = [f"s{row // pictures:02d}" if subjects else "" for row in range(len(face))]
    columns = {"image": np.array([f"{row:04d}.png" for row in range(len(face))]), "subject": np.array(who)}
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
    best = np.sort([max(feature[row] @ feature[other] for other in enrolled) for row in strangers])[::-1]
    template = dict(zip(subject[enrolled].tolist(), enrolled.tolist(), strict=True))
    own = np.array(
        [feature[row] @ feature[template[name]] for row, name in zip(mated, subject[mated].tolist(), strict=True)]
    )
    assert (detail.num_mated, detail.num_non_mated) == (len(own), len(best)) == (60, 90)
    assert detail.fnir == {"0.003": None, "0.01": None, "0.1": pytest.approx(np.mean(own < best[8] - 1e-7))}


def test_the_details_are_plain_json() -> None:
    documents = [one.to_json() for one in detailed(noisy_pairs(), as_it_is).values()]
    assert json.loads(json.dumps(documents, allow_nan=False))[0]["rank1"].keys() == {"low", "high", "confidence"}


@pytest.mark.parametrize("pairs", [noisy_pairs(subjects=False), noisy_pairs(pictures=1)])
def test_where_nobody_can_be_identified_there_are_no_details(pairs: Pairs) -> None:
    assert detailed(pairs, as_it_is) == {}


def test_too_few_impostors_for_a_rate_leave_its_interval_out() -> None:
    pairs = noisy_pairs()
    few = pairs.take(np.arange(len(pairs)) < 24)
    assert all(one.tar_far_1e3 is None for one in detailed(few, as_it_is).values())
