"""The page of problems: what the doctor finds, and what mends it."""

from __future__ import annotations

from goclaw.problems import PROBLEMS


def page() -> str:
    """Return the reference of what the doctor finds."""
    rows = "\n".join(
        f"| `{code}` | {problem.state} | {problem.means} | {_mend(problem.mend)} |"
        for code, problem in sorted(PROBLEMS.items())
    )
    return f"""# Problems, and what mends them

Written by `scripts/reference.py`; do not edit.

What `goclaw doctor` can find. With `--json` each of the `findings` has `code`, `name`, `state`,
`says` and `mend`; codes do not change. The exit code is 0 where everything is ok or a warning, 5
where something is unavailable, 6 where something is damaged.
`goclaw doctor --bundle FILE` writes all that was found, the settings and the end of the program's
log into an archive for a bug report. It holds no value of any run: no input, parameter, result,
label or message of an agent; nor the value of any environment variable.

| code | state | what it means | what mends it |
|---|---|---|---|
{rows}
"""


def _mend(text: str) -> str:
    for gap in ("path", "user", "view", "run"):
        text = text.replace("{" + gap + "}", gap.upper())
    return text
