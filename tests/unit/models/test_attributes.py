"""Thresholds by which pictures are left out, at errors that hold for pictures that they were not measured on."""

import numpy as np
import pytest

from models.attributes import (
    ROUNDING,
    STATED_ERRORS,
    Attribute,
    AttributeTable,
    Cut,
    attributes_json,
    measured_attribute,
    parse_attributes,
)


def test_a_threshold_is_one_of_those_who_are_meant() -> None:
    having = np.arange(1, 20, dtype=np.float32) / 20
    lacking = np.array([0.0, 0.04, 0.1, 0.9], dtype=np.float32)
    told = measured_attribute("hat", np.concatenate([having, lacking]), np.arange(23) < 19, errors=(0.05, 0.1, 0.04))
    # Of nineteen the first is beyond the twentieth with one in twenty; one in twenty-five cannot be told of so few.
    assert [cut.error for cut in told.has] == [0.05, 0.1]
    # Let out by what another machine may round.
    assert [cut.threshold for cut in told.has] == pytest.approx([0.05 - ROUNDING, 0.1 - ROUNDING])
    assert [cut.passed for cut in told.has] == [0.5, 0.5]
    assert told.lacks == ()
    assert (told.num_with, told.num_without, told.num_people_with, told.num_people_without) == (19, 4, 19, 4)


def test_who_lacks_it_is_let_through_from_below() -> None:
    lacking = np.arange(20, dtype=np.float32) / 20
    having = np.array([0.3, 0.8, 0.96], dtype=np.float32)
    told = measured_attribute("hat", np.concatenate([lacking, having]), np.arange(23) >= 20, errors=(0.1,))
    # The second largest of twenty: one of them and a tenth more are beyond it.
    (cut,) = told.lacks
    assert [cut.error, cut.threshold, cut.passed] == pytest.approx([0.1, 0.9 + ROUNDING, 2 / 3])


def test_a_person_counts_once_however_many_pictures_there_are() -> None:
    # Nineteen people: one of ten pictures, of which one is the least of all, and eighteen of one.
    score = np.concatenate([[0.01], np.full(9, 0.5), np.arange(18) / 100 + 0.1])
    people = np.array(["ann"] * 10 + [f"p{number}" for number in range(18)])
    told = measured_attribute("hat", score, np.ones(28, dtype=bool), people, errors=(0.05, 0.1))
    # Below 0.01 there is nobody; below 0.1 a tenth of one of twenty, and below 0.11 more than one.
    assert [cut.threshold for cut in told.has] == pytest.approx([0.01 - ROUNDING, 0.1 - ROUNDING])
    assert (told.num_with, told.num_people_with) == (28, 19)
    alone = measured_attribute("hat", score, np.ones(28, dtype=bool), np.full(28, "ann"), errors=(0.05, 0.4))
    assert alone.has == ()


def test_the_stated_error_holds_for_people_whose_pictures_are_alike() -> None:
    rng = np.random.default_rng(7)
    num_people, each, found = 30, 8, []
    for _ in range(300):
        person = rng.normal(size=num_people + 200)
        score = 1 / (1 + np.exp(-np.repeat(person, each) - 0.3 * rng.normal(size=len(person) * each)))
        people = np.repeat(np.arange(len(person)), each)
        is_measured = people < num_people
        told = measured_attribute("x", score[is_measured], np.ones(num_people * each, dtype=bool), people[is_measured])
        cut = told.cut(0.1, has=True)
        assert cut is not None
        found.append(np.mean(score[~is_measured] < cut.threshold))
    assert 0.05 < np.mean(found) <= 0.1


@pytest.mark.parametrize("has", [True, False])
def test_the_stated_error_holds_for_others(has: bool) -> None:
    rng = np.random.default_rng(5)
    num, found = 60, []
    for _ in range(400):
        is_with_N = rng.random(num) < 0.5
        told = measured_attribute("x", rng.beta(np.where(is_with_N, 4, 2), 2), is_with_N)
        cut = told.cut(0.1, has=has)
        assert cut is not None
        others = rng.beta(4 if has else 2, 2, 200)
        found.append(np.mean(others < cut.threshold if has else others > cut.threshold))
    # In the mean over what it may be measured on; never much below, or it would say little.
    assert 0.05 < np.mean(found) <= 0.1


def test_the_largest_error_that_is_not_above_what_is_asked_is_used() -> None:
    one = Attribute("x", (Cut(0.01, 0.1, 0.5), Cut(0.05, 0.2, 0.4)))
    found = [one.cut(error, has=True) for error in (0.009, 0.01, 0.049, 0.05, 0.9)]
    assert [None if cut is None else cut.error for cut in found] == [None, 0.01, 0.01, 0.05, 0.05]
    assert one.cut(0.05, has=False) is None


def test_of_nobody_nothing_is_stated() -> None:
    told = measured_attribute("x", np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool))
    assert told == Attribute("x")
    only = measured_attribute("x", np.full(300, 0.5, dtype=np.float32), np.ones(300, dtype=bool))
    assert [cut.error for cut in only.has] == list(STATED_ERRORS)
    # Nobody is there of whom it could be told how many pass.
    assert {cut.passed for cut in only.has} == {None}


def test_what_is_written_is_read_again() -> None:
    rng = np.random.default_rng(1)
    measured = [
        measured_attribute(name, rng.random(200).astype(np.float32), rng.random(200) < 0.3) for name in ("a", "b", "c")
    ]
    table = AttributeTable("shade", tuple(measured[:2]), (measured[2],))
    read = parse_attributes(attributes_json(table), what="x", dimension=3)
    assert read == table
    assert read.places == {"a": 0, "b": 1, "c": 2}
