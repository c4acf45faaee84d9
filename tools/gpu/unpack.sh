#!/usr/bin/env bash
# Puts what a GPU machine without a network lacks into folders for PYTHONPATH: see docs/selftest.md.
#   unpack.sh PIECES SITE
# PIECES/base/*.whl are installed into SITE; every other folder PIECES/<name> holds <name>.xz.aa, .ab, ...: the pieces of
# a tar.xz, which is unpacked into SITE-<name>: a folder each, so that PYTHONPATH says which comes first.
set -euo pipefail
pieces=$1 site=$2 found=no
test -d "$pieces" || { echo "error: there is no folder $pieces" >&2; exit 2; }
mkdir -p "$site"
if compgen -G "$pieces/base/*.whl" > /dev/null; then
    "${PYTHON:-python3}" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$site" "$pieces"/base/*.whl
    found=yes
fi
for folder in "$pieces"/*/; do
    name=$(basename "$folder")
    compgen -G "$folder$name.xz.*" > /dev/null || continue
    mkdir -p "$site-$name"
    # A missing piece is noticed here: xz and tar fail on what is cut off.
    cat "$folder$name".xz.* | xz -dc -T0 | tar x -C "$site-$name"
    echo "unpacked $name into $site-$name"
    found=yes
done
[ "$found" = yes ] || { echo "error: $pieces holds neither base/*.whl nor <name>/<name>.xz.*" >&2; exit 2; }
