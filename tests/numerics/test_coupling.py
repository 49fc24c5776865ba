"""Losses that couple classes and attributes, beside loops over their equations."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.losses import coupling
from training.losses.coupling import (
    distribution_matching,
    known_attributes,
    known_classes,
    mutual_matching,
    soft_co_annotation,
    soft_labels,
)

FloatArray = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)
B, K, M = 6, 4, 5
CLASS, ATTRIBUTE = RNG.normal(size=(B, K)) * 3, RNG.normal(size=(B, M)) * 3
CHANCE = RNG.random((K, M)).round(1)
CHANCE[0, 0], CHANCE[1, 0], CHANCE[2, 1] = 0.0, 1.0, 0.0
CHANCE[:, 4] = 1.0
HAS, KNOWN = RNG.random((B, M)) < 0.5, RNG.random((B, M)) < 0.7


def softmax(row: FloatArray) -> list[float]:
    total = sum(math.exp(one) for one in row)
    return [math.exp(one) / total for one in row]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def matching_loop(
    class_BK: FloatArray, attribute_BM: FloatArray, chance_KM: FloatArray, *, is_two_sided: bool
) -> float:
    total = 0.0
    for class_K, attribute_M in zip(class_BK, attribute_BM, strict=True):
        p_K = softmax(class_K)
        for m, logit in enumerate(attribute_M):
            q = sum(p_K[k] * chance_KM[k][m] for k in range(len(p_K)))
            p = sigmoid(logit)
            if any(chance_KM[:, m] > 0):
                total -= p * math.log(q)
            if is_two_sided and any(chance_KM[:, m] < 1):
                total -= (1 - p) * math.log(1 - q)
    return total / len(class_BK)


def labels_loop(has_M: npt.NDArray[np.bool_], known_M: npt.NDArray[np.bool_], weight_KM: FloatArray) -> list[float]:
    scores = []
    for weight_M in weight_KM:
        most = sum(w for w, known in zip(weight_M, known_M, strict=True) if known)
        found = sum(w for w, known, has in zip(weight_M, known_M, has_M, strict=True) if known and has)
        scores.append(found / most if most else 0.0)
    return softmax(np.array(scores))


@pytest.mark.parametrize("is_two_sided", [False, True])
def test_distribution_matching_equals_a_loop(is_two_sided: bool) -> None:
    found = distribution_matching(
        torch.tensor(CLASS), torch.tensor(ATTRIBUTE), torch.tensor(CHANCE), is_two_sided=is_two_sided
    )
    assert found.item() == pytest.approx(matching_loop(CLASS, ATTRIBUTE, CHANCE, is_two_sided=is_two_sided), abs=1e-12)


def test_mutual_matching_equals_a_loop() -> None:
    chance = CHANCE.copy()
    chance[:, 3] = 0.0
    loss = mutual_matching(torch.tensor(CLASS), torch.tensor(ATTRIBUTE), torch.tensor(chance))
    expected = matching_loop(CLASS, ATTRIBUTE, chance, is_two_sided=True)
    for class_K, attribute_M in zip(CLASS, ATTRIBUTE, strict=True):
        p_K = softmax(class_K)
        for m in (0, 1, 2, 4):
            q, p = sum(p_K[k] * chance[k][m] for k in range(K)), sigmoid(attribute_M[m])
            expected -= (q * math.log(p) + (1 - q) * math.log(1 - p)) / B
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_both_learn_from_each_other_and_neither_by_saying_less() -> None:
    logits, attribute = torch.zeros(1, 2, requires_grad=True), torch.full((1, 2), -1.0, requires_grad=True)
    # Each class has one attribute for certain; both are as probable, so each attribute should be told of with a half.
    mutual_matching(logits, attribute, torch.eye(2)).backward()
    assert attribute.grad is not None
    torch.testing.assert_close(attribute.grad, torch.full((1, 2), sigmoid(-1.0) - 0.5))
    printed = torch.full((1, 2), -1.0, requires_grad=True)
    distribution_matching(torch.zeros(1, 2), printed, torch.eye(2), is_two_sided=False).backward()
    assert printed.grad is not None
    # As printed it is least where no attribute is found.
    assert (printed.grad > 0).all()
    attribute = torch.tensor([[3.0, -3.0]])
    mutual_matching(logits, attribute, torch.eye(2)).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


def test_few_at_a_time_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = torch.tensor(CLASS), torch.tensor(ATTRIBUTE), torch.tensor(CHANCE)
    whole = distribution_matching(*tensors, is_two_sided=True)
    monkeypatch.setattr(coupling, "_AT_ONCE", 2 * B * K)
    torch.testing.assert_close(distribution_matching(*tensors, is_two_sided=True), whole)


def test_an_empty_batch_teaches_nothing() -> None:
    logits = torch.zeros(0, K, requires_grad=True)
    loss = distribution_matching(logits, torch.zeros(0, M), torch.tensor(CHANCE).float(), is_two_sided=True)
    loss.backward()
    assert loss.item() == 0


def test_of_a_prototype_the_mixture_is_the_sum_of_its_classes() -> None:
    # Eq. 2's example: a unit of surprise and fear alone.
    chance = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64)
    logits = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    p = torch.softmax(logits, dim=1)[0]
    sure = torch.tensor([[50.0]], dtype=torch.float64)
    found = distribution_matching(logits, sure, chance, is_two_sided=False)
    assert found.item() == pytest.approx(-math.log(float(p[1] + p[2])), abs=1e-9)


@pytest.mark.parametrize("is_two_sided", [False, True])
def test_a_class_that_is_all_but_ruled_out_is_no_infinity(is_two_sided: bool) -> None:
    logits = torch.tensor([[800.0, 0.0]], requires_grad=True)
    attribute = torch.tensor([[800.0, -800.0]], requires_grad=True)
    chance = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    loss = distribution_matching(logits, attribute, chance, is_two_sided=is_two_sided)
    loss.backward()
    assert loss.item() == pytest.approx(1600.0 if is_two_sided else 800.0)
    for one in (logits, attribute):
        assert one.grad is not None
        assert torch.isfinite(one.grad).all()
    assert logits.grad is not None
    assert logits.grad[0, 0] > 0 > logits.grad[0, 1]


def test_of_an_attribute_that_no_class_has_nothing_is_learned() -> None:
    attribute = torch.tensor(ATTRIBUTE, requires_grad=True)
    chance = torch.tensor(CHANCE)
    chance[:, 3] = 0.0
    distribution_matching(torch.tensor(CLASS), attribute, chance, is_two_sided=False).backward()
    assert attribute.grad is not None
    assert (attribute.grad[:, 3] == 0).all()
    assert (attribute.grad[:, 2] != 0).all()


def test_soft_labels_equal_a_loop() -> None:
    found, is_there = soft_labels(torch.tensor(HAS), torch.tensor(KNOWN), torch.tensor(CHANCE))
    for row in range(B):
        assert found[row].exp().tolist() == pytest.approx(labels_loop(HAS[row], KNOWN[row], CHANCE), abs=1e-12)
    assert is_there.tolist() == KNOWN.any(axis=1).tolist()


def test_an_attribute_that_speaks_for_no_class_labels_nobody() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    known = torch.tensor([[False, True], [True, True], [True, False]])
    _, is_there = soft_labels(torch.ones(3, 2, dtype=torch.bool), known, weight)
    assert is_there.tolist() == [False, True, True]
    class_BK = torch.tensor([[5.0, 0.0]], requires_grad=True)
    loss = soft_co_annotation(class_BK, torch.ones(1, 2, dtype=torch.bool), known[:1], weight, is_label_target=True)
    loss.backward()
    assert class_BK.grad is not None
    assert not class_BK.grad.any()


def test_the_score_of_a_happy_face_is_that_of_the_paper() -> None:
    weight = torch.tensor([[1.0, 1.0, 0.51], [0.0, 0.0, 0.0]], dtype=torch.float64)
    log_label, _ = soft_labels(torch.tensor([[True, False, True]]), torch.ones(1, 3, dtype=torch.bool), weight)
    score = (1 + 0.51) / (1 + 1 + 0.51)
    assert log_label.exp()[0].tolist() == pytest.approx(softmax(np.array([score, 0.0])))


@pytest.mark.parametrize("is_label_target", [False, True])
def test_soft_co_annotation_equals_a_loop(is_label_target: bool) -> None:
    known = KNOWN.copy()
    known[2] = False
    total = 0.0
    rows = [row for row in range(B) if known[row].any()]
    for row in rows:
        p_K, q_K = softmax(CLASS[row]), labels_loop(HAS[row], known[row], CHANCE)
        pairs = zip(q_K, p_K, strict=True) if is_label_target else zip(p_K, q_K, strict=True)
        total -= sum(target * math.log(found) for target, found in pairs)
    found = soft_co_annotation(
        torch.tensor(CLASS),
        torch.tensor(HAS),
        torch.tensor(known),
        torch.tensor(CHANCE),
        is_label_target=is_label_target,
    )
    assert found.item() == pytest.approx(total / len(rows), abs=1e-12)


def test_where_no_label_is_known_there_is_nothing_to_learn() -> None:
    class_BK, attribute_BM = torch.tensor(CLASS, requires_grad=True), torch.tensor(ATTRIBUTE, requires_grad=True)
    nothing, has = torch.zeros(B, M, dtype=torch.bool), torch.tensor(HAS)
    loss = (
        soft_co_annotation(class_BK, has, nothing, torch.tensor(CHANCE), is_label_target=False)
        + known_classes(class_BK, torch.full((B,), -1))
        + known_attributes(attribute_BM, has, nothing)
    )
    loss.backward()
    assert loss.item() == 0
    assert class_BK.grad is not None
    assert attribute_BM.grad is not None
    assert not class_BK.grad.any()
    assert not attribute_BM.grad.any()


def test_what_is_known_alone_counts() -> None:
    class_B = torch.tensor([0, -1, 3, -1, 2, 1])
    wanted = -np.mean([math.log(softmax(CLASS[row])[one]) for row, one in enumerate(class_B.tolist()) if one >= 0])
    assert known_classes(torch.tensor(CLASS), class_B).item() == pytest.approx(wanted, abs=1e-12)
    known = KNOWN.copy()
    known[1] = False
    each = []
    for row in range(B):
        terms = [
            -math.log(sigmoid(ATTRIBUTE[row, m] if HAS[row, m] else -ATTRIBUTE[row, m]))
            for m in range(M)
            if known[row, m]
        ]
        each += [sum(terms) / len(terms)] if terms else []
    found = known_attributes(torch.tensor(ATTRIBUTE), torch.tensor(HAS), torch.tensor(known))
    assert found.item() == pytest.approx(sum(each) / len(each), abs=1e-12)


def test_relatedness_of_another_shape_is_refused() -> None:
    class_BK, attribute_BM = torch.tensor(CLASS), torch.tensor(ATTRIBUTE)
    has_BM, known_BM = torch.tensor(HAS), torch.tensor(KNOWN)
    # Of one row, it would be that of every class.
    for wrong in (torch.tensor(CHANCE[:1]), torch.tensor(CHANCE[:, :2])):
        with pytest.raises(ValueError, match=r"relatedness is \(.*\); of these classes and attributes it is"):
            distribution_matching(class_BK, attribute_BM, wrong, is_two_sided=True)
        with pytest.raises(ValueError, match="relatedness is"):
            mutual_matching(class_BK, attribute_BM, wrong)
        with pytest.raises(ValueError, match="relatedness is"):
            soft_co_annotation(class_BK, has_BM, known_BM, wrong, is_label_target=False)
