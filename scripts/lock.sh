#!/usr/bin/env bash
# Write requirements.lock anew from pyproject.toml: names, versions and hashes, for every platform.
# What is locked stays as it is where it still fits; `scripts/lock.sh --upgrade` takes the newest.
# requirements.run.lock is the part of it that Goclaw needs to run: what an image installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ ! -x .venv/bin/uv ]; then
  bash scripts/setup.sh
fi
compile=(.venv/bin/uv --system-certs --no-config pip compile pyproject.toml --quiet
  --universal --python-version 3.11 --generate-hashes
  --no-annotate --no-header --no-emit-index-url)
"${compile[@]}" --group dev "$@" -o requirements.lock
"${compile[@]}" --constraints requirements.lock -o requirements.run.lock
printf 'lock: %s packages; now run scripts/setup.sh\n' "$(grep -c '==' requirements.lock)" >&2
