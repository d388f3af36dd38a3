"""One damaged log after another: opened by a process with a deadline, then mended, and judged."""

from __future__ import annotations

import json
import random
import select
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from goclaw_events.errors import CodedError
from goclaw_events.rocks.fsck import fsck

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from scripts.damage.base import Base

DEADLINE_S: Final = 10.0
REFUSALS: Final = frozenset(
    {"log_damaged", "log_behind_watermark", "log_mismatch", "log_missing", "blob_missing"}
)


class Opener:
    """A process that opens logs; killed and started again when it does not answer in time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, path: Path) -> dict[str, Any]:
        """Return what opening `path` gave; `code` is `hang` or `died` where it gave nothing."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None, "it has pipes"
        assert process.stdout is not None, "it has pipes"
        process.stdin.write(f"{path}\n".encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
        line = process.stdout.readline() if ready else b""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        return {"code": "died" if ready else "hang", "frames": [], "problems": []}

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).with_name("opener.py"))]
        return subprocess.Popen(  # noqa: S603 - this interpreter and a script of ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Trials:
    """Damage copies of a log, and count what became of them; `failures` should stay empty."""

    def __init__(self, opener: Opener, home: Path) -> None:
        self._opener = opener
        self._case = home / "case"
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.slowest_s = 0.0

    def play(
        self,
        base: Base,
        damage: Callable[[Path, random.Random], str],
        seed: str,
        *,
        mend: bool,
    ) -> None:
        """Damage one copy by the generator of `seed`; with `mend` let fsck work on it too."""
        shutil.rmtree(self._case, ignore_errors=True)
        shutil.copytree(base.path, self._case)
        done = damage(self._case, random.Random(seed))  # noqa: S311 - seeded, to be repeated
        self.counts["damaged"] += 1
        name = f"seed {seed}: {done}"
        if mend:
            pristine = self._case.with_name("again")
            shutil.rmtree(pristine, ignore_errors=True)
            shutil.copytree(self._case, pristine)
        refused = self._judge(base, self._opener.look(self._case), name)
        if mend and refused:
            shutil.rmtree(self._case)
            pristine.rename(self._case)
            self._mend(base, name)

    def _judge(self, base: Base, said: dict[str, Any], name: str) -> bool:
        """Return whether something was found to be damaged."""
        code, problems = said["code"], said["problems"]
        self.slowest_s = max(self.slowest_s, said.get("seconds", 0.0))
        if code:
            self.counts[f"refused {code}"] += 1
            if code not in REFUSALS:
                self.failures.append(f"{name}: {code} {said.get('message', '')}")
            return True
        if _as_lists(base) != said["frames"]:
            self.failures.append(f"{name}: opened, and is not what was written")
        self.counts["found by the verification" if problems else "whole"] += 1
        return bool(problems)

    def _mend(self, base: Base, name: str) -> None:
        """Let fsck mend the damage, giving up what it says, and compare with what was written."""
        try:
            found = fsck(self._case)
            lost = found.loss.facts if found.loss else 0
            mended = fsck(self._case, repair=True, accept=lost if found.loss else None)
        except CodedError as error:
            if error.code not in REFUSALS:
                self.failures.append(f"{name}: fsck raised {error.code}: {error.message}")
            self.counts["beyond mending"] += 1
            return
        if not mended.whole and any("blob" not in p.place for p in mended.report.problems):
            self.counts["beyond mending"] += 1
            if self._case.joinpath("log", "CURRENT").exists() and mended.mended:
                self.failures.append(f"{name}: mended, but {mended.report.problems[0]}")
            return
        said = self._opener.look(self._case)
        kept = _as_lists(base)
        facts = sum(2 * len(frames) for frames in kept)  # two facts a frame
        if said["code"] or facts - 2 * sum(map(len, said["frames"])) != lost:
            self.failures.append(f"{name}: mended by giving up {lost}, then {said['code']} {said}")
        elif any(
            frames != whole[: len(frames)]
            for frames, whole in zip(said["frames"], kept, strict=True)
        ):
            self.failures.append(f"{name}: mended into another history")
        self.counts["mended, nothing lost" if not lost else "mended, loss accepted"] += 1


def _as_lists(base: Base) -> list[list[str]]:
    return [list(frames) for frames in base.frames]
