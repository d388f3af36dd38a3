"""The graph algorithms against brute force on small random graphs, and on deep ones."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from goclaw_events import dag

if TYPE_CHECKING:
    import pytest


@st.composite
def acyclic(draw: st.DrawFn, nodes_max: int = 9) -> list[list[int]]:
    """Draw an acyclic graph whose nodes are shuffled, so that order is not the numbering."""
    count = draw(st.integers(0, nodes_max))
    names = draw(st.permutations(range(count)))
    needs: list[list[int]] = [[] for _ in range(count)]
    for at in range(count):
        before = draw(st.sets(st.sampled_from(range(at)), max_size=4)) if at else set()
        needs[names[at]] = [names[other] for other in sorted(before)]
    return needs


@st.composite
def any_graph(draw: st.DrawFn, nodes_max: int = 7) -> list[list[int]]:
    """Draw a graph that may have cycles (not of one node: the checks refuse those before)."""
    count = draw(st.integers(1, nodes_max))
    return [
        sorted(draw(st.sets(st.integers(0, count - 1), max_size=3)) - {node})
        for node in range(count)
    ]


def has_cycle(needs: list[list[int]]) -> bool:
    """Tell by removing nodes without needs, again and again, whether a cycle is left."""
    left = set(range(len(needs)))
    while free := {node for node in left if not left.intersection(needs[node])}:
        left -= free
    return bool(left)


def reached(needs: list[list[int]], node: int) -> set[int]:
    """Return what `node` needs, however far back."""
    found: set[int] = set()
    waiting = list(needs[node])
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting.extend(needs[at])
    return found


def all_paths(needs: list[list[int]], node: int) -> list[list[int]]:
    """Return every path that ends in `node`."""
    paths = [[*path, node] for other in needs[node] for path in all_paths(needs, other)]
    return paths or [[node]]


@given(any_graph())
def test_a_cycle_is_found_if_and_only_if_there_is_one(needs: list[list[int]]) -> None:
    """Named cycles exist, are closed, share no node; no knot of cycles is passed over."""
    cycles = dag.find_cycles(needs)
    assert bool(cycles) == has_cycle(needs)
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        for node, other in pairwise(cycle):
            assert other in needs[node]
    named = [node for cycle in cycles for node in cycle[:-1]]
    assert len(named) == len(set(named))
    for node in range(len(needs)):
        knot = {other for other in reached(needs, node) if node in reached(needs, other)}
        assert not knot or knot.intersection(named)


@given(any_graph())
def test_the_order_is_short_exactly_when_there_is_a_cycle(needs: list[list[int]]) -> None:
    """Kahn's sort leaves out what a cycle leads to, and nothing else."""
    order = dag.topological_order(needs)
    assert (len(order) < len(needs)) == has_cycle(needs)
    seen: set[int] = set()
    for node in order:
        assert seen.issuperset(needs[node])
        seen.add(node)


@given(acyclic(nodes_max=6))
def test_the_order_is_the_first_of_all_valid_orders(needs: list[list[int]]) -> None:
    """Of the ready nodes the lowest comes first: the lexicographically smallest valid order."""
    valid = (
        list(order)
        for order in permutations(range(len(needs)))
        if all(set(needs[node]) <= set(order[:at]) for at, node in enumerate(order))
    )
    assert dag.topological_order(needs) == next(valid)


@given(acyclic())
def test_a_layer_is_the_longest_distance_from_a_root(needs: list[list[int]]) -> None:
    """Every node stands in the layer of its longest chain of needs, ascending, each once."""
    layers = dag.layers_of(needs, dag.topological_order(needs))
    for depth, nodes in enumerate(layers):
        assert nodes == sorted(nodes)
        for node in nodes:
            assert max(len(path) for path in all_paths(needs, node)) == depth + 1
    assert sorted(node for nodes in layers for node in nodes) == list(range(len(needs)))


@given(acyclic(), st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.5]), min_size=9))
def test_the_critical_path_is_the_heaviest_of_all_paths(
    needs: list[list[int]], weights: list[float]
) -> None:
    """Length and path agree with every path tried; slack is what a node may grow by."""
    weights = weights[: len(needs)]
    order = dag.topological_order(needs)
    found = dag.schedule(needs, order, weights)
    paths = [path for node in range(len(needs)) for path in all_paths(needs, node)]
    heaviest = max((sum(weights[node] for node in path) for path in paths), default=0.0)
    assert found.length == heaviest
    assert sum(weights[node] for node in found.critical) == heaviest
    for node, other in pairwise(found.critical):
        assert node in needs[other]
    for node in range(len(needs)):
        grown = list(weights)
        grown[node] += found.slack[node]
        assert dag.schedule(needs, order, grown).length == heaviest
        grown[node] += 0.5
        assert dag.schedule(needs, order, grown).length > heaviest


@given(any_graph(), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_reachability_agrees_with_a_search(
    needs: list[list[int]], pairs: list[tuple[int, int]]
) -> None:
    """A pair is reported exactly if no chain of needs leads from the one to the other."""
    reads = [(a, b) for a, b in pairs if a < len(needs) and b < len(needs)]
    expected = [i for i, (a, b) in enumerate(reads) if b not in reached(needs, a)]
    assert dag.unreachable_pairs(needs, dag.topological_order(needs), reads) == expected


def test_reachability_works_beyond_one_set_of_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets are handled a bounded number at a time, with the same answer."""
    monkeypatch.setattr(dag, "REACH_BITS_MAX", 2)
    needs = [[], [0], [1], [2], [3], []]
    reads = [(node, other) for node in range(6) for other in range(6)]
    missing = {reads[i] for i in dag.unreachable_pairs(needs, range(6), reads)}
    assert missing == {(n, o) for n, o in reads if not (o < n < 5)}


def test_depth_costs_no_recursion() -> None:
    """A chain of 20,000 nodes, and a circle of as many, are handled like any other graph."""
    count = 20_000
    chain: list[list[int]] = [[node - 1] if node else [] for node in range(count)]
    order = dag.topological_order(chain)
    assert order == list(range(count))
    assert len(dag.layers_of(chain, order)) == count
    assert dag.schedule(chain, order, [1.0] * count).length == count
    assert not dag.find_cycles(chain)
    chain[0] = [count - 1]
    (cycle,) = dag.find_cycles(chain)
    assert len(cycle) == count + 1
