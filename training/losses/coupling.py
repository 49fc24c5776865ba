"""Two tasks that teach each other: which class a picture is of, and which attributes it has.

Source: Kollias et al., Distribution matching for multi-task learning of classification tasks (AAAI 2024).

Shapes: B batch, K classes, M attributes.
"""

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 1 << 24
"""Numbers: classes of a batch times attributes."""


def distribution_matching(class_BK: Tensor, attribute_BM: Tensor, chance_KM: Tensor, *, is_two_sided: bool) -> Tensor:
    """How far the attributes that a picture is said to have are from those that its class would have, in the mean over pictures.

    `class_BK` and `attribute_BM` are logits, `chance_KM` is p(attribute | class). An attribute that no class has is left out: of
    it classes say nothing. It needs no labels.

    Source: Eq. 2 and 3, which ask that a class has what was found; `is_two_sided` asks too that it has not what was not found, of
    attributes that not every class has for certain. In logarithms, so that a class that is all but ruled out is no infinity.
    Raises `ValueError` for chances of another shape.
    """
    _check(class_BK, attribute_BM, chance_KM)
    log_class_BK = functional.log_softmax(class_BK, dim=1)
    loss = _mismatch(log_class_BK, functional.logsigmoid(attribute_BM), chance_KM.log())
    if is_two_sided:
        loss = loss + _mismatch(log_class_BK, functional.logsigmoid(-attribute_BM), torch.log1p(-chance_KM))
    return loss


def mutual_matching(class_BK: Tensor, attribute_BM: Tensor, chance_KM: Tensor) -> Tensor:
    """How far both are from each other, in the mean over pictures, each in turn the target of the other, which learns nothing as
    such: so neither can come nearer by saying less, as attributes can in `distribution_matching` by being told of nobody.

    Source: Eq. 2, and a cross-entropy with soft targets as in distillation (Hinton et al., 2015, Sec. 2), both ways.
    """
    to_classes = distribution_matching(class_BK, attribute_BM.detach(), chance_KM, is_two_sided=True)
    of_M = torch.nonzero((chance_KM > 0).any(dim=0))[:, 0]
    if not len(class_BK) or not len(of_M):
        return to_classes
    mixed_BM = (functional.softmax(class_BK.detach(), dim=1) @ chance_KM[:, of_M]).clamp(max=1.0)
    each_BM = functional.binary_cross_entropy_with_logits(attribute_BM[:, of_M], mixed_BM, reduction="none")
    return to_classes + each_BM.sum(dim=1).mean()


def soft_labels(has_BM: Tensor, is_known_BM: Tensor, weight_KM: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of how probable each class is (B, K) by the attributes that pictures have, as far as these are known; and
    whether any is (B,) that speaks for a class.

    A class none of whose attributes are known scores nothing.

    Source: Eq. 4 and 5.
    """
    known_BM = is_known_BM.to(weight_KM.dtype)
    found_BK = (known_BM * has_BM.to(weight_KM.dtype)) @ weight_KM.T
    most_BK = known_BM @ weight_KM.T
    score_BK = torch.where(most_BK > 0, found_BK / most_BK.clamp(min=torch.finfo(most_BK.dtype).tiny), 0.0)
    return functional.log_softmax(score_BK, dim=1), (most_BK > 0).any(dim=1)


def soft_co_annotation(
    class_BK: Tensor, has_BM: Tensor, is_known_BM: Tensor, weight_KM: Tensor, *, is_label_target: bool
) -> Tensor:
    """How far the classes that pictures are said to be of are from those that their annotated attributes speak for, in the mean
    over pictures of which any attribute is known that speaks for a class; zero where there are none.

    Source: Eq. 6, of predictions as the target and labels as what is found; `is_label_target` takes them the other way round, as
    a cross-entropy with soft labels is. Raises `ValueError` for weights of another shape.
    """
    _check(class_BK, has_BM, weight_KM)
    log_label_BK, is_there_B = soft_labels(has_BM, is_known_BM, weight_KM)
    if not bool(is_there_B.any()):
        return class_BK[:0].sum()
    log_class_BK = functional.log_softmax(class_BK[is_there_B], dim=1)
    log_label_BK = log_label_BK[is_there_B]
    if is_label_target:
        return -(log_label_BK.exp() * log_class_BK).sum(dim=1).mean()
    return -(log_class_BK.exp() * log_label_BK).sum(dim=1).mean()


def known_classes(class_BK: Tensor, class_B: Tensor) -> Tensor:
    """Cross-entropy over the pictures whose class is known, which of others is negative; zero where there are none."""
    is_known_B = class_B >= 0
    if not bool(is_known_B.any()):
        return class_BK[:0].sum()
    return functional.cross_entropy(class_BK[is_known_B], class_B[is_known_B])


def known_attributes(attribute_BM: Tensor, has_BM: Tensor, is_known_BM: Tensor) -> Tensor:
    """Binary cross-entropy over what is known of each picture, in the mean over pictures of which anything is; zero where there
    are none.

    Source: the text after Eq. 1.
    """
    is_there_B = is_known_BM.any(dim=1)
    if not bool(is_there_B.any()):
        return attribute_BM[:0].sum()
    each_BM = functional.binary_cross_entropy_with_logits(attribute_BM, has_BM.to(attribute_BM.dtype), reduction="none")
    known_BM = is_known_BM.to(each_BM.dtype)
    of_each_B = (each_BM * known_BM).sum(dim=1) / known_BM.sum(dim=1).clamp(min=1)
    return of_each_B[is_there_B].mean()


def _check(class_BK: Tensor, attribute_BM: Tensor, related_KM: Tensor) -> None:
    wanted = (class_BK.shape[1], attribute_BM.shape[1])
    if tuple(related_KM.shape) != wanted:
        raise ValueError(f"relatedness is {tuple(related_KM.shape)}; of these classes and attributes it is {wanted}")


def _mismatch(log_class_BK: Tensor, log_found_BM: Tensor, log_chance_KM: Tensor) -> Tensor:
    """Cross-entropy of what was found with the mixture over classes, over attributes of which any class has a chance; some at a
    time, so that many classes do not fill the memory.
    """
    of_M = torch.nonzero((log_chance_KM > float("-inf")).any(dim=0))[:, 0]
    if not len(log_class_BK) or not len(of_M):
        return log_class_BK[:0].sum() + log_found_BM[:0].sum()
    terms = [
        log_found_BM[:, some].exp() * torch.logsumexp(log_class_BK[:, :, None] + log_chance_KM[None, :, some], dim=1)
        for some in of_M.split(max(1, _AT_ONCE // log_class_BK.numel()))
    ]
    return -torch.cat(terms, dim=1).sum(dim=1).mean()
