#!/usr/bin/env bash
# Make .venv with everything that requirements.lock names, and Goclaw itself in editable form.
# Idempotent: when the lock has not changed since the last time it does nothing.
# PYTHON=/path/to/python chooses the interpreter; otherwise scripts/python.sh does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pip=(.venv/bin/python -m pip --quiet --disable-pip-version-check install --no-deps)

say() { printf '%s\n' "$*" >&2; }

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# What the environment is made from; a change of any of it installs again.
stamp_of() {
  .venv/bin/python -c '
import hashlib, pathlib, sys
parts = [pathlib.Path(p).read_bytes() for p in ("requirements.lock", "pyproject.toml", "scripts/setup.sh")]
parts.append(sys.version.encode())
print(hashlib.sha256(b"\0".join(parts)).hexdigest())'
  pwd
}

if [ -x .venv/bin/python ] && ! fits .venv/bin/python; then
  say "setup: .venv is of an older Python; making it anew"
  rm -rf .venv
fi
if [ -f .venv/goclaw-setup ] && [ "$(sed -n 2p .venv/goclaw-setup)" != "$(pwd)" ]; then
  say "setup: this folder was moved or copied; making .venv anew"
  rm -rf .venv
fi
if [ -f .venv/goclaw-setup ] && [ "$(cat .venv/goclaw-setup)" = "$(stamp_of)" ]; then
  exit 0
fi

if [ ! -x .venv/bin/uv ] || ! .venv/bin/uv --version >/dev/null 2>&1; then
  python=$(bash scripts/python.sh)
  say "setup: making .venv with $("$python" --version)"
  rm -rf .venv
  if ! "$python" -m venv .venv; then
    say "setup: $python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
    exit 1
  fi
  say "setup: installing uv (version and hashes from requirements.lock)"
  awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock >.venv/uv.lock
  "${pip[@]}" --require-hashes -r .venv/uv.lock
fi

# --system-certs: trust what the machine trusts, as pip does (a company may have its own authority).
uv=(.venv/bin/uv --system-certs --quiet pip)
say "setup: installing what requirements.lock names"
if ! "${uv[@]}" sync --python .venv/bin/python --require-hashes requirements.lock; then
  # The machine may be configured for pip alone (a mirror, a proxy): slower, and the same result.
  say "setup: uv could not; trying with pip"
  "${pip[@]}" --require-hashes -r requirements.lock
fi
"${uv[@]}" install --python .venv/bin/python --no-deps --no-build-isolation -e .
stamp_of >.venv/goclaw-setup
say "setup: ready ($(.venv/bin/python --version), $(find .venv/lib -maxdepth 3 -name '*.dist-info' | wc -l | tr -d ' ') packages)"
