"""Make a failing seed small: fewer kinds of fault, then fewer steps, then fewer runs."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.simulation.options import Options, options_of
from tests.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TIMEOUT_S = 30.0
SHRINK_RUNS_MAX = 200


class SeedTimeout(BaseException):
    """A seed took too long: the engine goes round in circles."""


@dataclass(frozen=True, slots=True)
class Case:
    """A seed, and what of its options is overruled."""

    seed: int
    without: tuple[str, ...] = ()
    steps: int | None = None
    runs: int | None = None

    @property
    def options(self) -> Options:
        """Return the options that the case stands for; raises `ValueError` for unknown kinds."""
        options = options_of(self.seed).without(self.without)
        if self.steps is not None:
            options = replace(options, steps=self.steps)
        if self.runs is not None:
            options = replace(options, runs=self.runs)
        return options

    @property
    def line(self) -> str:
        """Return the arguments of `scripts/simulate.py` that run the case."""
        words = [f"--seed {self.seed}"]
        if self.without:
            words.append(f"--without {','.join(self.without)}")
        if self.steps is not None:
            words.append(f"--steps {self.steps}")
        if self.runs is not None:
            words.append(f"--runs {self.runs}")
        return " ".join(words)

    @classmethod
    def parse(cls, line: str) -> Case:
        """Read what `line` wrote; raises `ValueError`."""
        words = line.split()
        given = dict(zip(words[::2], words[1::2], strict=True))
        without = given.pop("--without", "")
        case = cls(
            int(given.pop("--seed")),
            tuple(without.split(",")) if without else (),
            int(given.pop("--steps")) if "--steps" in given else None,
            int(given.pop("--runs")) if "--runs" in given else None,
        )
        if given:
            message = f"unknown options: {' '.join(given)}"
            raise ValueError(message)
        return case


@contextmanager
def time_limit(timeout_s: float) -> Iterator[None]:
    """Raise `SeedTimeout` in the main thread when the block takes too long."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        message = f"no end within {timeout_s:g} s"
        raise SeedTimeout(message)

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failure_of(case: Case, timeout_s: float = TIMEOUT_S) -> str:
    """Run a case; return how it failed, or nothing."""
    try:
        with time_limit(timeout_s):
            simulate(case.seed, case.options)
    except (Exception, SeedTimeout) as error:  # noqa: BLE001 - a failure of any kind is one
        return f"{type(error).__name__}: {error}"
    return ""


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return a smaller case that fails too, after at most `SHRINK_RUNS_MAX` runs."""
    left = SHRINK_RUNS_MAX

    def still(candidate: Case) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    for kind in sorted(case.options.rates):
        smaller = replace(case, without=(*case.without, kind))
        if still(smaller):
            case = smaller
    case = _fewer(case, "steps", still)
    return _fewer(case, "runs", still)


def _fewer(case: Case, name: str, still: Callable[[Case], bool]) -> Case:
    """Bisect a number; what fails with more need not fail with less, so each step is tried."""
    low, high = 0, getattr(case.options, name)
    while high - low > 1:
        middle = (low + high) // 2
        smaller = replace(case, **{name: middle})
        if still(smaller):
            case, high = smaller, middle
        else:
            low = middle
    return case
