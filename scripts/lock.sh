#!/usr/bin/env bash
# Write requirements.lock anew from pyproject.toml: names, versions and hashes, for every platform.
# What is locked stays as it is where it still fits; `scripts/lock.sh --upgrade` takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ ! -x .venv/bin/uv ]; then
  bash scripts/setup.sh
fi
.venv/bin/uv --system-certs --no-config pip compile pyproject.toml --group dev --quiet \
  --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header --no-emit-index-url "$@" -o requirements.lock
printf 'lock: %s packages; now run scripts/setup.sh\n' "$(grep -c '==' requirements.lock)" >&2
