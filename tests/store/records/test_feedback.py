"""Feedback: stored durably, once for each request and source, and only about requests of the same key."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from router.errors import ConflictError, FieldError, UnknownIdError
from router.store.backend import FolderBackend
from router.store.records.feedback import MAX_SOURCES, Feedback, FeedbackStore, value_of
from router.types import Outcome
from tests.store.records.examples import DAY_S, record

AT = 1_000_000.0


@pytest.fixture
def records_of(backend: FolderBackend) -> FolderBackend:
    with backend.archive() as records:
        failed = record("failed", outcome=Outcome(502, 30.0, error="upstream_error"))
        records.add([record("mine", key="a"), record("theirs", key="b"), record("open"), failed], AT)
    return backend


@pytest.fixture
def store(records_of: FolderBackend) -> Iterator[FeedbackStore]:
    with records_of.feedback() as store:
        yield store


def mine(value: float = 1.0, **fields: object) -> Feedback:
    return msgspec.structs.replace(Feedback("mine", value, AT, key="a"), **fields)


def test_feedback_is_read_back_as_it_was_given(records_of: FolderBackend, store: FeedbackStore) -> None:
    given = mine(0.25, source="judge", comment="too long", idempotency_key="k-1", propensity=0.05)
    stored = store.add(given)
    assert (stored.feedback, stored.card, stored.is_new) == (given, "poet", True)
    with records_of.archive() as records:
        assert records.feedback_of("mine") == [given]
        assert list(records.scan_feedback()) == [given]


def test_a_verdict_from_before_judges_were_named_is_that_of_the_judge_in_its_comment(
    records_of: FolderBackend, store: FeedbackStore
) -> None:
    old = Feedback("mine", 0.25, AT, "judge", comment="by haiku", propensity=0.05)
    store.add(old, of_any_key=True)
    store.add(mine(1.0, source="judge:strict", key=None, propensity=0.05), of_any_key=True)
    with records_of.archive() as records:
        assert {each.source: each.comment for each in records.feedback_of("mine")} == {
            "judge:haiku": None,
            "judge:strict": None,
        }


def test_the_same_feedback_again_is_stored_once(store: FeedbackStore) -> None:
    store.add(mine())
    again = store.add(mine(at=AT + 60))
    assert not again.is_new
    assert again.feedback.at == AT


def test_feedback_that_waits_is_taken_once_oldest_first_and_other_feedback_never(
    records_of: FolderBackend, store: FeedbackStore
) -> None:
    store.add(mine(source="app"))
    late, early = mine(source="b", at=AT + 2), mine(source="a", at=AT + 1)
    for given in (late, early, early):
        store.add(given, of_any_key=True, waits=True)
    with records_of.feedback() as other:
        assert other.take_waiting(1) == [early]
        assert store.take_waiting(10) == [late]
        assert other.take_waiting(10) == []
    with records_of.archive() as records:
        assert len(records.feedback_of("mine")) == 3


def test_several_gateways_share_what_waits(records_of: FolderBackend, store: FeedbackStore) -> None:
    with records_of.archive() as records:
        records.add([record(f"r{number}", key="a") for number in range(40)], AT)
    for number in range(40):
        store.add(mine(record=f"r{number}"), waits=True)
    taken: list[str] = []

    def take() -> None:
        with records_of.feedback() as own:
            while batch := own.take_waiting(3):
                taken.extend(each.record for each in batch)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One that finds only rows which others are taking ends early, so a last look takes what is left.
    take()
    assert sorted(taken) == sorted(f"r{number}" for number in range(40))


def test_a_source_cannot_change_its_judgement(store: FeedbackStore) -> None:
    store.add(mine(1.0))
    with pytest.raises(ConflictError, match="before, differently"):
        store.add(mine(0.0))
    assert store.add(mine(0.0, source="second")).is_new


def test_an_idempotency_key_is_used_once_by_each_key(store: FeedbackStore) -> None:
    store.add(mine(idempotency_key="k-1"))
    with pytest.raises(ConflictError, match="idempotency_key"):
        store.add(mine(source="judge", idempotency_key="k-1"))
    assert store.add(Feedback("theirs", 1.0, AT, key="b", idempotency_key="k-1")).is_new


def test_the_id_that_a_client_chose_is_enough_if_it_used_it_once(
    records_of: FolderBackend, store: FeedbackStore
) -> None:
    with records_of.archive() as records:
        ids = ("turn-1.aa", "turn-2.aa", "turn-2.bb")
        records.add([*(record(name, key="a") for name in ids), record("turn-1.bb", key="b")], AT)
    assert store.add(mine(record="turn-1")).feedback.record == "turn-1.aa"
    assert not store.add(mine(record="turn-1.aa")).is_new
    with pytest.raises(FieldError, match="ambiguous"):
        store.add(mine(record="turn-2"))


@pytest.mark.parametrize("name", ["theirs", "open", "no-such-request"])
def test_another_keys_request_looks_like_one_that_does_not_exist(store: FeedbackStore, name: str) -> None:
    with pytest.raises(UnknownIdError) as error:
        store.add(mine(record=name))
    assert str(error.value).replace(name, "…") == (
        '`id` names no request of this key: "…"; send the `x-request-id` of an answer'
    )


def test_the_operator_may_judge_every_request(store: FeedbackStore) -> None:
    assert store.add(Feedback("theirs", 1.0, AT, "operator"), of_any_key=True).is_new


def test_a_request_that_no_model_answered_cannot_be_judged(store: FeedbackStore) -> None:
    with pytest.raises(FieldError, match="no model answered"):
        store.add(Feedback("failed", 0.0, AT))


def test_the_sources_of_one_answer_are_limited(store: FeedbackStore) -> None:
    for number in range(MAX_SOURCES):
        store.add(mine(source=f"judge-{number}"))
    with pytest.raises(FieldError, match="one too many"):
        store.add(mine(source="one-more"))
    assert not store.add(mine(source="judge-3")).is_new


def test_of_parallel_judgements_of_one_source_one_is_stored(records_of: FolderBackend) -> None:
    results: list[bool | None] = []

    def give(value: float) -> None:
        with records_of.feedback() as store:
            try:
                results.append(store.add(mine(value)).is_new)
            except ConflictError:
                results.append(None)

    threads = [threading.Thread(target=give, args=(number / 8,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [None] * 7 + [True]


def test_feedback_is_deleted_with_its_record(records_of: FolderBackend, store: FeedbackStore) -> None:
    store.add(mine())
    with records_of.archive() as records:
        records.prune(AT + DAY_S)
        assert list(records.scan_feedback()) == []


def test_feedback_is_scanned_in_order_over_several_pages(records_of: FolderBackend, store: FeedbackStore) -> None:
    with records_of.archive() as records:
        records.add([record(f"r-{number:04}") for number in range(1100)], AT)
        for number in reversed(range(1100)):
            store.add(Feedback(f"r-{number:04}", 0.5, AT + number // 3))
        assert [each.record for each in records.scan_feedback()] == [f"r-{number:04}" for number in range(1100)]
        assert len(list(records.scan_feedback(AT + 300))) == 200


@pytest.mark.parametrize(("value", "verdict", "expected"), [(0.3, None, 0.3), (0.0, None, 0.0), (None, "mixed", 0.5)])
def test_a_verdict_stands_for_a_value(value: float | None, verdict: object, expected: float) -> None:
    assert value_of(value, verdict) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "verdict"), [(None, None), (1.0, "good")])
def test_either_a_value_or_a_verdict_is_needed(value: float | None, verdict: object) -> None:
    with pytest.raises(FieldError, match="only one of both"):
        value_of(value, verdict)  # type: ignore[arg-type]


def test_a_client_cannot_use_up_the_place_of_the_operators_judgement(store: FeedbackStore) -> None:
    for number in range(MAX_SOURCES):
        store.add(mine(source=f"judge-{number}"))
    with pytest.raises(FieldError):
        store.add(mine(source="one-more"))
    assert store.add(Feedback("mine", 0.0, AT, "operator"), of_any_key=True).is_new
