"""Directed graphs of tasks as integers: cycles, order, layers, critical path, reachability.

A graph is a list: `needs[i]` holds the indexes that `i` needs first. All is iterative, so the
depth of a graph costs no recursion, and O(V + E) unless said otherwise.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Graph: TypeAlias = "Sequence[Sequence[int]]"

REACH_BITS_MAX: Final = 4_096
SEARCH_STEPS_MAX: Final = 2_000_000
_WHITE, _GREY, _BLACK = 0, 1, 2


class Schedule(NamedTuple):
    """When each node may start and must finish, in the unit of its weights.

    `critical` is a longest path, `length` its weight, `slack` how much later a node may
    finish without making the whole longer.
    """

    start: list[float]
    slack: list[float]
    critical: list[int]
    length: float


def dependents_of(needs: Graph) -> list[list[int]]:
    """Turn the edges around: for each node those that need it, in ascending order."""
    dependents: list[list[int]] = [[] for _ in needs]
    for node, before in enumerate(needs):
        for other in before:
            dependents[other].append(node)
    return dependents


def find_cycles(needs: Graph) -> list[list[int]]:
    """Return cycles that share no node, at least one for each knot; empty: there is none.

    Each begins and ends with the same node, and each of its nodes needs the next.
    Source: three-colour depth-first search, Cormen et al., Introduction to Algorithms, 22.3
    (an edge to a grey node closes a cycle), with an explicit stack.
    """
    colour = bytearray(len(needs))
    in_cycle = bytearray(len(needs))
    cycles: list[list[int]] = []
    for root in range(len(needs)):
        if colour[root] != _WHITE:
            continue
        path, edges = [root], [iter(needs[root])]
        place = {root: 0}
        colour[root] = _GREY
        while path:
            for other in edges[-1]:
                if colour[other] == _GREY:
                    cycle = path[place[other] :]
                    if not any(in_cycle[node] for node in cycle):
                        cycles.append([*cycle, other])
                        for node in cycle:
                            in_cycle[node] = 1
                elif colour[other] == _WHITE:
                    colour[other] = _GREY
                    place[other] = len(path)
                    path.append(other)
                    edges.append(iter(needs[other]))
                    break
            else:
                colour[path[-1]] = _BLACK
                del place[path.pop()]
                edges.pop()
    return cycles


def topological_order(needs: Graph) -> list[int]:
    """Return the nodes so that each comes after what it needs; of the ready, the lowest first.

    Shorter than the graph if there is a cycle. O((V + E) log V).
    Source: A. B. Kahn, Topological sorting of large networks, CACM 5(11), 1962.
    """
    dependents = dependents_of(needs)
    missing = [len(before) for before in needs]
    ready = [node for node, count in enumerate(missing) if count == 0]
    heapify(ready)
    order: list[int] = []
    while ready:
        node = heappop(ready)
        order.append(node)
        for other in dependents[node]:
            missing[other] -= 1
            if missing[other] == 0:
                heappush(ready, other)
    return order


def layers_of(needs: Graph, order: Iterable[int]) -> list[list[int]]:
    """Group the nodes by their longest distance from a root, ascending within a layer."""
    depth = [0] * len(needs)
    for node in order:
        if needs[node]:
            depth[node] = 1 + max(depth[other] for other in needs[node])
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, at in enumerate(depth):
        layers[at].append(node)
    return layers


def schedule(needs: Graph, order: Sequence[int], weights: Sequence[float]) -> Schedule:
    """Compute earliest starts, slack and a critical path of an acyclic graph.

    Of equally long paths the one through the lowest indexes (from its end) is returned.
    Source: J. E. Kelley and M. R. Walker, Critical-path planning and scheduling, 1959.
    """
    start = [0.0] * len(needs)
    finish = [0.0] * len(needs)
    for node in order:
        start[node] = max((finish[other] for other in needs[node]), default=0.0)
        finish[node] = start[node] + weights[node]
    length = max(finish, default=0.0)
    latest = [length] * len(needs)
    for node in reversed(order):
        start_latest = latest[node] - weights[node]
        for other in needs[node]:
            latest[other] = min(latest[other], start_latest)
    # What is left of rounding (additions forwards, subtractions backwards) is no slack.
    noise = 1e-9 * max(1.0, length)
    slack = [b - a if b - a > noise else 0.0 for a, b in zip(finish, latest, strict=True)]
    return Schedule(start, slack, _critical_path(needs, start, finish, length), length)


def _critical_path(
    needs: Graph, start: Sequence[float], finish: Sequence[float], length: float
) -> list[int]:
    if not finish:
        return []
    node = finish.index(length)
    path = [node]
    while needs[node]:
        # The start of a node is, bit for bit, the finish of the one that it waited for.
        node = min(other for other in needs[node] if finish[other] == start[node])
        path.append(node)
    return path[::-1]


def unreachable_pairs(
    needs: Graph, order: Iterable[int], reads: Sequence[tuple[int, int]]
) -> list[int]:
    """Return the indexes of those pairs (node, other) where node does not need other at all.

    Bit sets of ancestors, 4,096 targets at a time: O((V + E) * targets / 64) word operations,
    and memory for V sets of 512 bytes, whatever the graph.
    """
    targets = sorted({other for _, other in reads})
    nodes = list(order)
    missing: list[int] = []
    for at in range(0, len(targets), REACH_BITS_MAX):
        bits = {other: 1 << i for i, other in enumerate(targets[at : at + REACH_BITS_MAX])}
        ancestors = [0] * len(needs)
        for node in nodes:
            seen = 0
            for other in needs[node]:
                seen |= ancestors[other] | bits.get(other, 0)
            ancestors[node] = seen
        missing += [
            i
            for i, (node, other) in enumerate(reads)
            if other in bits and not ancestors[node] & bits[other]
        ]
    if len(nodes) < len(needs):
        ordered = set(nodes)
        steps_left = SEARCH_STEPS_MAX
        for i in [i for i in missing if reads[i][0] not in ordered]:
            found, steps_left = _search(needs, *reads[i], steps_left)
            if found:
                missing.remove(i)
    return sorted(missing)


def _search(needs: Graph, node: int, other: int, steps_left: int) -> tuple[bool, int]:
    """Look for `other` among the ancestors of `node`; out of steps counts as found."""
    seen, waiting = {node}, [node]
    while waiting:
        for before in needs[waiting.pop()]:
            steps_left -= 1
            if before == other or steps_left <= 0:
                return True, steps_left
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    return False, steps_left
