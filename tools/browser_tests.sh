#!/bin/sh
# The browser tests of the side bar; they take the system's Chromium and download none.
set -eu
browser=${STEMMA_CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$browser" ]; then
  echo "skipped: the browser tests of the side bar ($browser is missing: apt-get install chromium)"
  exit 0
fi
exec jlpm test:ui
