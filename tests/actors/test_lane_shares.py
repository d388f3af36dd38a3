"""A lane that limits more than slots: keys, tenants, resources, rates, shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goclaw_actors.decider import ClearTimer, SetTimer
from goclaw_actors.lane import LANE, Lane
from goclaw_actors.lane.decide import decide_together
from goclaw_actors.lane.entry import KEY, PARTY, UNITS
from goclaw_actors.lending import DeclareLane, Enqueue, LendFree, Release, Withdraw
from goclaw_actors.messages import SlotLeased, TimerFired
from goclaw_events.facts import LaneDeclared, LaneRefused
from tests.actors.given import NOW_NS, Scenario, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from goclaw_actors.decider import Decision

STREAM = "lane/w/io"
SECOND_NS = 1_000_000_000


def lane(concurrency: int = 1, capacity: int = 1_000, **limits: Any) -> Scenario[Lane]:
    """Return a declared lane."""
    scenario = Scenario(LANE, STREAM)
    return scenario.given(LaneDeclared(concurrency, capacity, "reject", "w", limits))


def ask(task: str, priority: int = 0, *, head: bool = False, **asks: Any) -> Enqueue:
    """Return the message of a task that asks for a slot."""
    return Enqueue(task, priority, head, **asks)


def leased(decision: Decision) -> list[str]:
    """Return the tasks that were told that they have a slot, in order."""
    return [send.target for send in decision.sends if isinstance(send.body, SlotLeased)]


def told(scenario: Scenario[Lane], *messages: Any, at_s: float = 0.0) -> list[str]:
    """Have each message answered; return who got slots."""
    now_ns = NOW_NS + int(at_s * SECOND_NS)
    return [task for message in messages for task in leased(scenario.when(message, now_ns))]


def test_a_key_goes_one_by_one_and_in_order() -> None:
    """Tasks with one key wait for each other; those with other keys do not wait for them."""
    scenario = lane(10)
    asks = [ask(f"{key}{n}", key=key) for n in range(3) for key in "ab"]
    assert told(scenario, *asks) == ["a0", "b0"]
    assert told(scenario, Release("b0"), Release("b1")) == ["b1", "b2"]
    assert told(scenario, Release("a0")) == ["a1"]


def test_keys_are_kept_by_a_lane_that_declares_nothing() -> None:
    """A key is a lock whatever the lane says: one at a time unless `per_key` says more."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(10, 10, "reject", "w"))
    assert told(scenario, ask("plain"), ask("a", key="k"), ask("b", key="k")) == ["plain", "a"]
    assert told(scenario, Release("plain"), Release("a")) == ["b"]
    assert scenario.encoded() == scenario.replayed()


def test_more_of_a_key_where_it_is_declared() -> None:
    """`per_key` is how many of one key may run."""
    assert told(lane(10, per_key=2), *(ask(task, key="k") for task in "abc")) == ["a", "b"]


def test_an_idle_key_leaves_nothing() -> None:
    """What a key costs is gone when nothing of it waits or runs."""
    scenario = lane(10)
    for number in range(50):
        told(scenario, ask(f"t{number}", key=f"k{number}", tenant=f"n{number}"))
    for number in range(50):
        told(scenario, Release(f"t{number}"), at_s=1)
    told(scenario, ask("last"), at_s=2)
    shares = scenario.state.shares
    assert shares is not None
    assert not any(party.flows for party in shares.parties.values())


def test_a_tenant_is_bounded() -> None:
    """`per_tenant` holds for each; the slots of one are not for another to lose."""
    scenario = lane(10, per_tenant=2)
    asks = [ask(f"{tenant}{n}", tenant=tenant) for tenant in "ab" for n in range(3)]
    assert told(scenario, *asks) == ["a0", "a1", "b0", "b1"]
    assert told(scenario, Release("a0")) == ["a2"]


def test_all_limits_of_a_task_are_taken_in_one_turn_or_none() -> None:
    """A task that waits for one limit holds nothing of the others meanwhile."""
    scenario = lane(10, resources={"gpu": 1}, per_tenant=1)
    told(scenario, ask("a", tenant="x", units={"gpu": 1}))
    told(scenario, ask("b", tenant="x", units={"gpu": 1}), ask("c", tenant="y"))
    shares = scenario.state.shares
    assert shares is not None
    assert shares.used == {"gpu": 1}
    assert sorted(scenario.state.leased) == ["a", "c"]


def test_nobody_overtakes_who_waits_for_units() -> None:
    """A large task that is next gets its units, though small ones could have gone before."""
    scenario = lane(10, resources={"gpu": 4})
    assert told(scenario, ask("a", units={"gpu": 3}), ask("big", units={"gpu": 4})) == ["a"]
    assert told(scenario, ask("small", units={"gpu": 1}), ask("none")) == []
    assert told(scenario, Release("a")) == ["big"]
    assert told(scenario, Release("big")) == ["small", "none"]


@pytest.mark.parametrize("overflow", ["reject", "drop_newest", "drop_oldest"])
def test_who_has_to_go_holds_nobody_up(overflow: str) -> None:
    """A task that waits for units and has no room lets the next go, and then may have room."""
    scenario = Scenario(LANE, STREAM)
    scenario.given(LaneDeclared(3, 1, overflow, "w", {"resources": {"gpu": 1}}))
    asks = [ask("low", -1), ask("a", 1, units={"gpu": 1}), ask("b", units={"gpu": 1})]
    if overflow == "drop_oldest":
        asks = [asks[1], asks[2], asks[0]]
    decision = decide_together(scenario.state, asks, moment())
    assert leased(decision) == ["a", "low"]
    assert len(decision.facts) == 1
    scenario.given(*decision.facts)
    assert list(scenario.state.queued) == ["b"]
    assert told(scenario, Release("a")) == ["b"]


@pytest.mark.parametrize("overflow", ["reject", "drop_newest"])
def test_who_may_stay_after_all_does_not_wait_beside_a_free_slot(overflow: str) -> None:
    """Who is taken back when another made room gets a slot at once, if it may have one."""
    scenario = Scenario(LANE, STREAM)
    scenario.given(LaneDeclared(3, 1, overflow, "w", {"resources": {"gpu": 2}}))
    asks = [
        ask("low", -2, units={"gpu": 1}),
        ask("high", 2, units={"gpu": 1}),
        ask("none", -1),
        ask("both", units={"gpu": 2}),
        ask("late", units={"gpu": 2}),
    ]
    decision = decide_together(scenario.state, asks, moment())
    assert leased(decision) == ["high", "none", "low"]
    refused = decision.facts[-1]
    assert isinstance(refused, LaneRefused)
    assert refused.tasks == ["late"]
    scenario.given(*decision.facts)
    assert list(scenario.state.queued) == ["both"]


@pytest.mark.parametrize("units", [{"gpu": 5}, {"gpu": 1, "tpu": 1}])
def test_more_than_the_lane_has_is_refused(units: dict[str, int]) -> None:
    """A task that could never start does not wait: it is told so at once."""
    decision = lane(resources={"gpu": 4}).when(ask("a", units=units))
    assert decision.facts == (LaneRefused(["a"], "lane_quota_exceeded"),)
    assert decision.sends[0].body.reason == "lane_quota_exceeded"


def test_a_rate_lends_when_it_may_and_wakes_the_lane() -> None:
    """A burst at once, then one each interval; the timer is set for the next one."""
    scenario = lane(10, rate=[2.0, 2, "token_bucket"])
    decisions = [scenario.when(ask(task)) for task in "abcd"]
    assert [leased(decision) for decision in decisions] == [["a"], ["b"], [], []]
    wake = SetTimer("rate", NOW_NS + SECOND_NS // 2)
    assert decisions[2].effects == (wake,)
    assert told(scenario, TimerFired("rate"), at_s=0.4) == []
    woken = scenario.when(TimerFired("rate"), wake.due_ns)
    assert leased(woken) == ["c"]
    following = SetTimer("rate", wake.due_ns + SECOND_NS // 2)
    assert woken.effects == (following,)
    assert scenario.when(Withdraw("d")).effects == (ClearTimer("rate", following.due_ns),)


def test_what_waits_longer_comes_before_a_higher_priority() -> None:
    """After the time of ageing a task goes before one that is a level higher; not before."""
    scenario = lane(1, ageing=10)
    told(scenario, ask("busy"), ask("old"))
    told(scenario, ask("urgent", 1), at_s=9)
    told(scenario, ask("late", 1), at_s=11)
    order = [told(scenario, Release(task), at_s=12)[0] for task in ("busy", "urgent", "old")]
    assert order == ["urgent", "old", "late"]


def test_without_ageing_priority_is_strict() -> None:
    """`ageing: 0`: who waits longest still goes behind the higher priority."""
    scenario = lane(1, ageing=0)
    told(scenario, ask("busy"), ask("old"))
    told(scenario, ask("urgent", 1), at_s=1_000_000)
    assert told(scenario, Release("busy"), at_s=1_000_001) == ["urgent"]


@pytest.mark.parametrize("limits", [None, {"per_tenant": 5}, {"ageing": 60}])
def test_nothing_starves_under_a_stream_of_higher_priorities(limits: dict[str, Any] | None) -> None:
    """One slot, never free, a higher priority always waiting: a level is a minute in any lane."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(1, 1_000, "reject", "w", limits))
    told(scenario, ask("busy", 2), ask("low", 0))
    running, now_s = "busy", 0
    while running != "low" and now_s < 1_000:
        now_s += 1
        asks = ask(f"high{now_s}", 2)
        (running,) = told(scenario, asks, Release(running), at_s=now_s)
    assert 120 <= now_s <= 122
    assert scenario.encoded() == scenario.replayed()


@pytest.mark.parametrize("changed", [{"ageing": 1}, {"ageing": 0}, {"per_tenant": 9}, None])
@pytest.mark.parametrize("declared", [{"ageing": 600}, {"ageing": 0}, None])
def test_who_waits_is_ranked_by_the_ageing_that_is_declared_now(
    declared: dict[str, Any] | None, changed: dict[str, Any] | None
) -> None:
    """A new ageing holds for those who wait, too: of a priority, who came first goes first."""
    scenario = Scenario(LANE, STREAM).given(LaneDeclared(1, 1_000, "reject", "w", declared))
    told(scenario, ask("busy"), ask("a", 2, key="k"), ask("b", 1))
    scenario.when(DeclareLane(1, 1_000, "reject", "w", changed))
    told(scenario, ask("c", 2, key="k"), ask("d", 1), at_s=0.5)
    running, order = "busy", ""
    for _ in range(4):
        (running,) = told(scenario, Release(running), at_s=0.5)
        order += running
    assert order == "acbd"
    assert scenario.encoded() == scenario.replayed()


def test_what_comes_back_goes_to_the_head_of_its_priority() -> None:
    """Before all of its priority that wait, and behind a higher one."""
    scenario = lane(1, ageing=60)
    told(scenario, ask("busy"))
    told(scenario, ask("a"), ask("high", 1), at_s=1)
    told(scenario, Release("busy"), at_s=2)
    told(scenario, ask("busy", head=True), at_s=50)
    order = [told(scenario, Release(task), at_s=51)[0] for task in ("high", "busy")]
    assert order == ["busy", "a"]


@pytest.mark.parametrize("ageing", [0, 60])
@pytest.mark.parametrize("key", ["", "k"])
def test_what_comes_back_goes_before_all_of_its_priority_however_many_are_higher(
    ageing: int, key: str
) -> None:
    """Behind several of a higher priority, and before the first of its own."""
    scenario = lane(1, ageing=ageing)
    told(scenario, ask("busy", key=key))
    told(scenario, *(ask(f"high{n}", 2) for n in range(3)), *(ask(f"a{n}", key=key) for n in "01"))
    told(scenario, ask("other", 1, key=key), at_s=1)
    running = told(scenario, Release("busy"), at_s=2)[0]
    told(scenario, ask("busy", head=True, key=key), at_s=3)
    order = [running]
    while scenario.state.queued:
        order += told(scenario, Release(order[-1]), at_s=4)
    assert order == ["high0", "high1", "high2", "other", "busy", "a0", "a1"]
    assert scenario.encoded() == scenario.replayed()


def run_tenants(
    scenario: Scenario[Lane], lasts_s: dict[str, float], until_s: float
) -> dict[str, float]:
    """Let tenants that never run out of tasks share a lane; return their time in slots."""
    held_s = dict.fromkeys(lasts_s, 0.0)
    running: list[tuple[float, str]] = []
    count = 0

    def started(tasks: Sequence[str], now_s: float) -> None:
        running.extend((now_s + lasts_s[task.split("-")[0]], task) for task in tasks)

    for _ in range(scenario.state.concurrency + 1):
        for tenant in lasts_s:
            count += 1
            started(told(scenario, ask(f"{tenant}-{count}", tenant=tenant)), 0.0)
    while running:
        running.sort()
        now_s, task = running.pop(0)
        if now_s > until_s:
            break
        tenant = task.split("-")[0]
        held_s[tenant] += lasts_s[tenant]
        count += 1
        messages = [ask(f"{tenant}-{count}", tenant=tenant), Release(task)]
        started(told(scenario, *messages, at_s=now_s), now_s)
    return held_s


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("weights", [{}, {"short": 3.0}])
def test_tenants_share_by_weight_however_long_their_tasks(
    concurrency: int, weights: dict[str, float]
) -> None:
    """Tasks 100 times longer get the tenant no larger share: within 5 % of its weight."""
    scenario = lane(concurrency, weights=weights)
    scenario.large = True
    held_s = run_tenants(scenario, {"short": 0.1, "long": 10.0}, 1_000.0 / concurrency)
    share = held_s["short"] / sum(held_s.values())
    wanted = weights.get("short", 1.0) / (weights.get("short", 1.0) + 1.0)
    assert abs(share - wanted) <= 0.05 * wanted


@pytest.mark.parametrize("comes_at", [0, 1, 5])
def test_who_comes_while_others_were_charged_too_much_gets_its_share(comes_at: int) -> None:
    """Tasks are far shorter than they were taken for: that puts off nobody who comes meanwhile."""
    scenario = lane(10)
    scenario.large = True
    running = told(scenario, *(ask(f"a{number}", tenant="a") for number in range(30)))
    started = {"a": 0, "b": 0}
    for turn in range(200):
        messages = [m for task in running for m in (Release(task), ask(task, tenant=task[0]))]
        if turn == comes_at:
            messages += [ask(f"b{number}", tenant="b") for number in range(30)]
        now_ns = NOW_NS + (turn + 1) * SECOND_NS // 1_000
        decision = decide_together(scenario.state, messages, moment(now_ns=now_ns))
        scenario.given(*decision.facts)
        running = leased(decision)
        for task in running:
            started[task[0]] += 1
    assert started["b"] >= 0.45 * sum(started.values())


def test_limits_that_change_hold_for_what_waits() -> None:
    """A declaration lets those go on who may now; who holds a slot keeps it."""
    scenario = lane(10, per_key=1)
    told(scenario, *(ask(task, key="k") for task in "abcd"))
    declare = DeclareLane(10, 1_000, "reject", "w", {"per_key": 3})
    first = scenario.when(declare)
    assert [send.body for send in first.sends] == [LendFree()]
    assert told(scenario, LendFree()) == ["b", "c"]
    assert scenario.when(declare).facts == ()


def test_a_tenant_that_may_hold_fewer_keeps_its_order() -> None:
    """Who comes in the turn in which there is room again goes behind a higher priority."""
    scenario = lane(10, per_tenant=2)
    told(scenario, *(ask(task, 0, tenant="x") for task in "ab"), ask("first", 2, tenant="x"))
    scenario.when(DeclareLane(10, 1_000, "reject", "w", {"per_tenant": 1}))
    assert told(scenario, LendFree(), Release("a")) == []
    asks = [Release("b"), ask("late", 1, tenant="x")]
    assert leased(decide_together(scenario.state, asks, moment())) == ["first"]


def test_what_the_lane_has_no_more_is_refused_when_it_would_be_next() -> None:
    """Units that a declaration takes away are not waited for; who comes behind goes on."""
    scenario = lane(10, resources={"gpu": 2})
    told(scenario, ask("holds", units={"gpu": 2}), ask("a", units={"gpu": 2}), ask("b"))
    declare = DeclareLane(10, 1_000, "reject", "w", {"resources": {"gpu": 1}})
    scenario.when(declare)
    decision = scenario.when(LendFree())
    assert leased(decision) == ["b"]
    assert decision.facts[-1] == LaneRefused(["a"], "lane_quota_exceeded")
    assert decision.facts[0].withdrawn == ["a"]
    assert scenario.encoded() == scenario.replayed()


asks_of = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["", "x", "y"]),
        "key": st.sampled_from(["", "", "k", "l"]),
        "units": st.sampled_from([None, {"gpu": 1}, {"gpu": 2}]),
        "cost": st.sampled_from([1.0, 0.5]),
    }
)
messages = st.one_of(
    st.builds(
        lambda n, priority, head, asks: ask(f"t{n}", priority, head=head, **asks),
        st.integers(0, 12), st.integers(-1, 1), st.booleans(), asks_of,
    ),
    st.builds(lambda n: Release(f"t{n}"), st.integers(0, 12)),
    st.builds(lambda n: Withdraw(f"t{n}"), st.integers(0, 12)),
)  # fmt: skip


def within_limits(state: Lane) -> None:
    """Check every limit against who holds a slot."""
    shares = state.shares
    assert shares is not None
    assert len(state.leased) <= state.concurrency
    held = [lease[0] for lease in state.leased.values() if lease is not None]
    for entry in held:
        same = [other for other in held if other[PARTY : KEY + 1] == entry[PARTY : KEY + 1]]
        assert not entry[KEY] or len(same) <= shares.limits.per_key
        ours = [other for other in held if other[PARTY] == entry[PARTY]]
        assert len(ours) <= (shares.limits.per_tenant or 99)
    for unit, most in shares.limits.resources.items():
        used = sum((entry[UNITS] or {}).get(unit, 0) for entry in held)
        assert used == shares.used.get(unit, 0) <= most


@given(
    st.lists(st.tuples(st.integers(0, 90), st.lists(messages, max_size=6)), max_size=14),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_any_messages_keep_every_limit_and_lose_nobody(
    turns: list[tuple[int, list[Any]]], rated: bool
) -> None:
    """Whatever comes and goes: limits hold, replay is the same, and in the end all had a slot."""
    rate: dict[str, Any] = {"rate": [0.5, 2, "token_bucket"]} if rated else {}
    scenario = lane(3, resources={"gpu": 2}, per_tenant=2, ageing=30, **rate)
    now_s = 0.0
    for pause_s, batch in turns:
        now_s += pause_s
        now_ns = NOW_NS + int(now_s * SECOND_NS)
        before = scenario.encoded()
        decision = decide_together(scenario.state, batch, moment(now_ns=now_ns))
        assert scenario.encoded() == before, "deciding changed the state"
        scenario.given(*decision.facts)
        within_limits(scenario.state)
    assert scenario.encoded() == scenario.replayed()
    waited = set(scenario.state.queued)
    for _ in range(200):
        if not (scenario.state.queued or scenario.state.leased):
            break
        now_s += 10
        told(scenario, *map(Release, list(scenario.state.leased)), TimerFired("rate"), at_s=now_s)
        waited -= set(scenario.state.leased)
        within_limits(scenario.state)
    assert not scenario.state.queued
    assert not waited
