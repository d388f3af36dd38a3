#!/usr/bin/env bash
# Set everything up, then run the demo. Arguments go to `goclaw demo` (see `goclaw demo --help`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh
exec .venv/bin/goclaw demo "$@"
