"""What the error memory of a card learns, forgets and refuses to believe."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.memory.card import CHOICES, FAST, MOST, SHAPES, SKETCH, SLOW, CardMemory, CardView, Vote
from router.perceive.memory.corrections import MemoryView
from router.perceive.memory.fast_head import PROJECTIONS
from router.perceive.memory.sketch import BITS, CELLS, TABLES, cells_of
from router.perceive.memory.stored import from_bytes, to_bytes
from router.perceive.memory.voters import NAMED

_NOW_S = 1_790_000_000.0
_TENANTS = [None, *"abcdefghij"]
votes = st.builds(
    Vote,
    st.sampled_from(_TENANTS),
    st.floats(-1, 1),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.lists(st.integers(0, CELLS - 1), min_size=TABLES, max_size=TABLES).map(np.array),
    st.none() | st.lists(st.floats(-2, 2), min_size=PROJECTIONS, max_size=PROJECTIONS).map(np.array),
)
histories = st.lists(votes, max_size=40)
_HERE = np.zeros(TABLES, dtype=np.intp)


def _learned(history: list[Vote]) -> CardMemory:
    memory = CardMemory.empty("basis")
    for number, vote in enumerate(history):
        memory = memory.learn(vote, _NOW_S + number)
    return memory


def _shown(view: CardView) -> tuple[object, ...]:
    return view.estimates.tolist(), view.variances.tolist(), view.choice, view.score


def _wrong_answers(count: int, tenant: str, expected: float = 0.8, right: float = 0.2) -> list[Vote]:
    scores = np.random.default_rng(0).random(count) < right
    return [Vote(tenant, float(score) - expected, 0.5, _HERE) for score in scores]


@given(histories, histories)
@settings(max_examples=60, deadline=None)
def test_no_tenant_makes_or_enlarges_a_correction_for_another(honest: list[Vote], hostile: list[Vote]) -> None:
    """The bound of `router.perceive.memory.voters`: between 0 and what all others say, whatever one tenant votes."""
    honest = [vote for vote in honest if vote.tenant != "k"]
    mixed = [vote for pair in zip(honest, hostile, strict=False) for vote in (pair[0], pair[1]._replace(tenant="k"))]
    mixed += honest[len(hostile) :] + [vote._replace(tenant="k") for vote in hostile[len(honest) :]]
    # Room for every tenant, so that all others are distinguished.
    mixed = [vote for vote in mixed if vote.tenant in (None, "a", "b", "c", "k")]
    memory = CardMemory.empty("basis")
    without = CardMemory.empty("basis")
    for number, vote in enumerate(mixed):
        memory = memory.learn(vote, _NOW_S + number)
        if vote.tenant != "k":
            without = without.learn(vote, _NOW_S + number)
    for tenant in ("a", "never voted"):
        view = memory.view(tenant, _NOW_S + 100)
        # The votes of the others alone, as one that is left out sees them.
        of_others = _others(without, tenant)
        for vote in mixed:
            correction = view.correction(vote.cells, CHOICES.index((SKETCH, 1.0)))
            bound = of_others[SKETCH + CELLS * np.arange(TABLES) + vote.cells].mean()
            assert abs(correction) <= abs(bound) + 1e-9
            assert correction * bound >= -1e-12
        means = view.means
        assert (np.abs(means) <= np.abs(of_others) + 1e-9).all()
        assert (means * of_others >= -1e-12).all()


def _others(memory: CardMemory, tenant: str) -> np.ndarray:
    """The estimate from all votes of `memory`: the one that leaves out a tenant who never voted."""
    from router.perceive.memory import card, voters

    aged = memory._aged(_NOW_S + 100, card.RULE)
    slot = memory.slot_of(tenant)
    asker = None if slot in (voters.TRUSTED, voters.POOLED) else slot
    others = [number for number in range(1, voters.SLOTS) if number != asker]
    weights = voters.left_out_weights(aged.counts[SLOW], aged.sums[SLOW], asker)[others.index(voters.NAMED)]
    counts, sums = aged.counts @ weights, aged.sums @ weights
    recent = aged.recent_counts[voters.NAMED - 1]
    capped = weights * voters.recent_shares((recent * weights)[None], asker)[0]
    counts[FAST] = recent @ capped
    sums[FAST] = aged.recent_sums[voters.NAMED - 1] @ capped
    means = sums / (counts + card.RULE.prior)
    prior = card.RULE.sketch_prior
    means[SKETCH:] = (sums[SKETCH:] + prior * means[SLOW]) / (counts[SKETCH:] + prior)
    return means


def test_nobody_enlarges_a_correction_by_kind_of_prompt_by_taking_an_opposite_one_away() -> None:
    """The votes of two kinds cancel out on a prompt between them; without one of both, half of the other would stay."""
    here, there, between = np.array([0, 0, 0, 0]), np.array([1, 1, 1, 1]), np.array([0, 1, 0, 1])
    honest = [Vote(None, 0.8, 1.0, here), Vote(None, -0.8, 1.0, there)] * 60
    hostile = [Vote("k", 0.8, 1.0, there)] * 60
    choice = CHOICES.index((SKETCH, 1.0))
    view = _learned(honest + hostile).view("b", _NOW_S + 300)
    assert abs(view.correction(between, choice)) < 0.02
    shown = MemoryView("v", {"a": msgspec.structs.replace(view, choice=choice)})
    assert abs(shown.on(between)[0].on_prompt - view.correction(between, choice)) < 1e-6


def test_a_lone_voter_corrects_its_own_forecasts_and_nobody_elses() -> None:
    memory = _learned(_wrong_answers(150, "a"))
    own, others = memory.view("a", _NOW_S + 200), memory.view("b", _NOW_S + 200)
    assert own.choice is not None
    assert own.correction(_HERE, own.choice) < -0.3
    assert others.choice is None
    assert not others.means.any()


def test_two_tenants_who_agree_correct_the_forecasts_of_a_third() -> None:
    both = [vote for pair in zip(_wrong_answers(100, "a"), _wrong_answers(100, "b"), strict=True) for vote in pair]
    view = _learned(both).view("c", _NOW_S + 300)
    assert view.choice is not None
    assert view.correction(_HERE, view.choice) < -0.2


def test_the_operator_alone_corrects_everybodys_forecasts() -> None:
    judged = [vote._replace(tenant=None, weight=1.0) for vote in _wrong_answers(100, "a")]
    view = _learned(judged).view("b", _NOW_S + 300)
    assert view.choice is not None
    assert view.correction(_HERE, view.choice) < -0.3


def test_many_votes_of_many_keys_before_a_change_delay_its_correction_little() -> None:
    """What is quick forgets by the votes of all, so a long past of six keys does not stand against the present."""

    def first_corrected(before: int) -> int:
        rng, memory = np.random.default_rng(0), CardMemory.empty("basis")
        for number in range(before + 300):
            right = 0.8 if number < before else 0.2
            vote = Vote("abcdef"[number % 6], float(rng.random() < right) - 0.8, 0.5, rng.integers(0, CELLS, TABLES))
            memory = memory.learn(vote, _NOW_S + number)
            if number <= before:
                continue
            view = memory.view("x", _NOW_S + number)
            if view.choice is not None and view.correction(_HERE, view.choice) < -0.15:
                return number - before
        return 300

    assert first_corrected(before=1_200) <= first_corrected(before=100) + 30


def test_votes_as_expected_apply_nothing() -> None:
    """No strength where the correction does not help, over many runs of a card that is as good as forecast."""
    rng, applied = np.random.default_rng(1), 0
    for _ in range(10):
        memory = CardMemory.empty("basis")
        for number in range(100):
            vote = Vote("a", float(rng.random() < 0.7) - 0.7, 0.5, rng.integers(0, CELLS, TABLES))
            memory = memory.learn(vote, _NOW_S + number)
        applied += memory.view("a", _NOW_S + 100).choice is not None
    assert applied <= 1


def test_an_error_in_one_kind_of_prompt_is_found_there() -> None:
    rng, memory = np.random.default_rng(2), CardMemory.empty("basis")
    elsewhere = np.full(TABLES, CELLS - 1)
    for number in range(400):
        is_here = number % 3 == 0
        right = rng.random() < (0.15 if is_here else 0.9)
        memory = memory.learn(Vote(None, float(right) - 0.8, 1.0, _HERE if is_here else elsewhere), _NOW_S + number)
    view = memory.view("a", _NOW_S + 400)
    assert view.choice is not None
    assert CHOICES[view.choice][0] == SKETCH
    assert view.correction(_HERE, view.choice) < -0.3 < view.correction(elsewhere, view.choice)


@given(histories)
@settings(max_examples=30, deadline=None)
def test_a_memory_keeps_its_size_and_its_corrections_are_bounded(history: list[Vote]) -> None:
    memory = _learned(history)
    assert {name: getattr(memory, name).shape for name in SHAPES} == SHAPES
    assert len(memory.tenants) <= NAMED
    for tenant in _TENANTS:
        view = memory.view(tenant, _NOW_S + 50)
        assert (view.variances >= 0).all()
        assert 0 <= view.strength <= 1
        assert all(abs(view.correction(_HERE, choice)) <= MOST for choice in range(len(CHOICES)))


@given(histories)
@settings(max_examples=30, deadline=None)
def test_the_bytes_of_a_memory_say_the_same(history: list[Vote]) -> None:
    memory = _learned(history)
    stored = to_bytes(memory)
    again = from_bytes(stored)
    assert to_bytes(again) == stored
    assert len(stored) < 10_000
    assert np.allclose(again.sums, memory.sums, atol=1e-4)
    assert again.votes == memory.votes == len(history)


def test_votes_fade_with_time() -> None:
    memory = _learned(_wrong_answers(100, "a"))
    then, later = memory.view("a", _NOW_S + 100), memory.view("a", _NOW_S + 100 + 365 * 86_400)
    assert then.means[SLOW] < -0.3
    assert abs(later.means[SLOW]) < 0.02
    assert later.choice is None


def test_a_card_that_has_recovered_is_no_longer_corrected() -> None:
    memory = _learned(_wrong_answers(150, "a") + _wrong_answers(300, "a", right=0.8))
    view = memory.view("a", _NOW_S + 500)
    assert view.means[FAST] > -0.15
    assert view.choice is None or abs(view.correction(_HERE, view.choice)) < 0.1


def test_a_new_tenant_gets_the_slot_of_one_whose_votes_have_faded() -> None:
    memory = _learned([Vote(name, 0.0, 0.5, _HERE) for name in "abcdef"])
    assert memory.learn(Vote("g", 0.0, 0.5, _HERE), _NOW_S + 10).tenants == tuple("abcdef")
    later = memory.learn(Vote("g", -0.5, 0.5, _HERE), _NOW_S + 200 * 86_400)
    assert later.tenants == ("g", *"bcdef")
    assert later.counts[SLOW, 1] == 0.5


def test_a_pooled_tenant_that_gets_a_slot_of_its_own_still_corrects_nobody_elses_forecasts_alone() -> None:
    """In two slots, it would never be left out as a whole."""
    memory = _learned([Vote(name, 0.0, 0.5, _HERE) for name in "abcdef"] + _wrong_answers(150, "k"))
    later_s = _NOW_S + 100 * 86_400
    for number, vote in enumerate(_wrong_answers(150, "k")):
        memory = memory.learn(vote, later_s + number)
    assert memory.tenants[0] == "k"
    assert not memory.view("eve", later_s + 200).means.any()


def test_an_old_vote_that_arrives_late_does_not_turn_the_clock_back() -> None:
    memory = _learned(_wrong_answers(10, "a"))
    late = memory.learn(Vote("a", 0.1, 0.5, _HERE), _NOW_S - 1_000)
    assert late.at_s.max() == memory.at_s.max()


@given(histories)
@settings(max_examples=10, deadline=None)
def test_the_same_votes_make_the_same_memory(history: list[Vote]) -> None:
    assert to_bytes(_learned(history)) == to_bytes(_learned(history))
    one, two = _learned(history).view("a", _NOW_S), _learned(history).view("a", _NOW_S)
    assert _shown(one) == _shown(two)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"arrays": b"\0" * 10}, "too short"),
        ({"format": 99}, "format 99"),
        ({"tenants": ("a", "a")}, "too much"),
        ({"votes": -1}, "impossible"),
    ],
)
def test_a_memory_that_was_changed_is_refused(change: dict[str, object], problem: str) -> None:
    from router.perceive.memory import stored as module

    parts = msgspec.msgpack.decode(to_bytes(_learned(_wrong_answers(5, "a"))), type=module._Stored)
    changed = msgspec.structs.replace(parts, **change)
    with pytest.raises(ValueError, match=problem):
        from_bytes(msgspec.msgpack.encode(changed))


def test_a_memory_with_impossible_numbers_is_refused() -> None:
    memory = CardMemory.empty("basis")
    for name, value in (("sums", 5.0), ("counts", -1.0), ("counts", np.nan), ("gains", np.inf), ("scored", -2.0)):
        values = getattr(memory, name).copy()
        values[..., 0] = value
        with pytest.raises(ValueError, match=r"impossible|not finite"):
            from_bytes(to_bytes(msgspec.structs.replace(memory, **{name: values})))
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(b"\xff nothing")


def test_similar_topics_share_cells_and_opposite_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    topic = rng.normal(size=64)
    near, far = cells_of(topic + 0.05 * rng.normal(size=64)), cells_of(-topic)
    assert cells_of(topic).max() < 2**BITS
    assert (near == cells_of(topic)).sum() >= TABLES - 1
    assert not (far == cells_of(topic)).any()


def test_a_memory_stays_as_large_as_it_is_whatever_many_keys_vote() -> None:
    generator, memory, sizes = np.random.default_rng(0), CardMemory.empty("basis"), set()
    for number in range(900):
        cells = generator.integers(0, CELLS, TABLES)
        vote = Vote(f"key-{number % 300:03}", float(generator.uniform(-1, 1)), 0.5, cells)
        memory = memory.learn(vote, _NOW_S + number)
        if number in (299, 899):
            sizes.add(len(to_bytes(memory)))
    assert len(sizes) == 1
    assert sizes.pop() < 10_000
