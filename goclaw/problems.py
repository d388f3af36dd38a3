"""The index of problems: each with a code that stays, what it means, and what mends it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

State = Literal["ok", "warning", "unavailable", "damaged"]


class Finding(NamedTuple):
    """One thing that was looked at.

    `mend`: the command that mends it, `code`: the problem in the index; '' where there is none.
    """

    name: str
    state: State
    says: str
    mend: str = ""
    code: str = ""


class Problem(NamedTuple):
    """What can be wrong. `mend` has gaps in braces, filled in when the problem is found."""

    state: State
    means: str
    mend: str


PROBLEMS: Final[dict[str, Problem]] = {
    "package_missing": Problem(
        "unavailable", "A package that Goclaw cannot work without is not installed.",
        "pip install --force-reinstall goclaw",
    ),
    "data_dir_symlink": Problem(
        "unavailable", "A data directory must not be a symbolic link: it could change under a "
        "running engine.", "name the directory itself: --data-dir {path}",
    ),
    "data_dir_not_directory": Problem(
        "unavailable", "Something else stands where the data directory should be.",
        "choose another one with --data-dir",
    ),
    "data_dir_unwritable": Problem(
        "unavailable", "The user who runs Goclaw may not write there.",
        "chown {user} {path}, or choose another one with --data-dir",
    ),
    "data_dir_in_use": Problem(
        "warning", "A process holds the directory: a second engine cannot open it. What is in the "
        "log cannot be looked at from here.", "stop that process, or use another --data-dir",
    ),
    "log_state_missing": Problem(
        "damaged", "Files of a log are there, but not the one that names their state.",
        "restore the directory from a backup; see `goclaw fsck --data-dir {path}`",
    ),
    "log_damaged": Problem(
        "damaged", "The log cannot be opened, because what is stored is not what was written.",
        "goclaw fsck --data-dir {path}",
    ),
    "log_behind_watermark": Problem(
        "damaged", "The log ends before what was acknowledged.", "goclaw fsck --data-dir {path}",
    ),
    "log_unreadable": Problem(
        "unavailable", "The log could not be opened now.", "goclaw log verify --data-dir {path}",
    ),
    "disk_space_low": Problem(
        "warning", "Less than 1 GiB is free.",
        "make room, or choose a --data-dir on another disk",
    ),
    "disk_space_out": Problem(
        "unavailable", "Less than 64 MiB is free: work will be refused.",
        "make room, or choose a --data-dir on another disk",
    ),
    "disk_volatile": Problem(
        "warning", "The file system lives in memory: a restart of the machine loses everything.",
        "choose a --data-dir on a disk",
    ),
    "disk_network": Problem(
        "warning", "The file system belongs to another machine: locks and flushes may not hold "
        "what they promise.", "choose a --data-dir on a local disk",
    ),
    "flush_dishonest": Problem(
        "warning", "A flush comes back without the data being safe: a power cut may lose "
        "what was acknowledged.", "mount the disk with barriers, and run without libeatmydata",
    ),
    "flush_slow": Problem(
        "warning", "A flush takes longer than 10 ms; every commit waits for one.",
        "choose a --data-dir on a local disk; every commit waits for one flush",
    ),
    "clock_unset": Problem(
        "warning", "The wall clock was never set: facts get wrong times.",
        "timedatectl set-ntp true",
    ),
    "clock_moving": Problem(
        "warning", "The wall clock moves against the monotonic one.", "timedatectl set-ntp true",
    ),
    "clock_behind_log": Problem(
        "warning", "The last fact is from the future: the clock was set back, or was wrong when "
        "it was recorded. Timers wait until the clock has come so far again.",
        "timedatectl set-ntp true",
    ),
    "views_outdated": Problem(
        "warning", "Rows cannot be continued and are made anew at the next start; until they have "
        "caught up, answers come late.", "goclaw views rebuild --data-dir {path}",
    ),
    "views_unreadable": Problem(
        "warning", "The database of the views cannot be opened. The log is not touched by this.",
        "rm -r {path}/views",
    ),
    "view_failed": Problem(
        "warning", "A view raised an exception and was stopped: what it answers is out of date.",
        "goclaw views rebuild {view}",
    ),
    "views_behind": Problem(
        "warning", "The views are more than 5 s behind the log: the engine is overloaded, or the "
        "disk is slow.", "goclaw views status",
    ),
    "lane_poisoned": Problem(
        "warning", "A lane cannot go on: its facts could not be handled, or its state not be "
        "rebuilt. Nothing in it starts.", "goclaw log show --type partition.stream_poisoned",
    ),
    "messages_parked": Problem(
        "warning", "Handling a message raised an exception, so it was set aside.",
        "goclaw log show --type partition.message_failed",
    ),
    "run_stuck": Problem(
        "warning", "Nothing will wake a run: a fault of the engine, found by its auditor. What is "
        "missing stands in its fact `run.stuck`.",
        "goclaw why {run}, then goclaw runs cancel {run}",
    ),
    "saga_stuck": Problem(
        "warning", "Nothing will wake a saga: a fault of the engine, found by its auditor. What is "
        "missing stands in its fact `run.stuck`.",
        "goclaw why --saga {saga}, then goclaw sagas compensate {saga}",
    ),
    "runs_unfinished": Problem(
        "warning", "Runs have not ended, and no engine works on them.",
        "goclaw resume --data-dir {path}",
    ),
    "sagas_unfinished": Problem(
        "warning", "Sagas have not ended, and no engine works on them.",
        "goclaw sagas resume --data-dir {path}",
    ),
    "sagas_wait": Problem(
        "warning", "Only a person can go on with a saga: compensations failed, or manual steps "
        "are to be undone.", "goclaw sagas show {saga}",
    ),
    "letters_wait": Problem(
        "warning", "Tasks without an attempt left wait for a person, and their runs with them.",
        "goclaw dead list --groups",
    ),
    "history_long": Problem(
        "warning", "So much was recorded of a task, a run or a saga that a fifth of what it may "
        "record is used up. What is said to it, saved and tried again makes a history longer.",
        "go on in a new run before it is full, or raise engine.history_facts_max (or _bytes_max)",
    ),
    "history_full": Problem(
        "warning", "So much was recorded of a task, a run or a saga that it takes nothing more: it "
        "can only end.",
        "let it end and go on in a new run, or raise engine.history_facts_max (or _bytes_max) and "
        "start the engine again",
    ),
    "agents_missing": Problem(
        "warning", "Unfinished runs need agents that nobody registered.",
        "goclaw resume --module MODULE, of the module that registers them",
    ),
    "module_failed": Problem(
        "warning", "A module that the settings name cannot be imported.",
        "mend the module, or agents.modules in the settings",
    ),
}  # fmt: skip
"""Every problem, by code."""


def problem(code: str, name: str, says: str, **gaps: object) -> Finding:
    """Return what was found as a finding of the index; `gaps` fill in its mend."""
    known = PROBLEMS[code]
    return Finding(name, known.state, says, known.mend.format(**gaps), code)
