#!/bin/sh
# Validates studies, nightly.yaml unless others are named: nightly.sh [STUDY ...]
# Store, outputs and lock are in $COVSVC_NIGHTLY (~/covsvc-nightly unless set), or the store is $COVSVC_STORE.
# Exit code: that of `covsvc validate`, which it becomes; 2, too, while another nightly.sh works there.
set -eu

here=$(CDPATH='' cd -P "$(dirname "$0")" && pwd -P)
folder=${COVSVC_NIGHTLY:-$HOME/covsvc-nightly}
[ $# -gt 0 ] || set -- "$here/../studies/nightly.yaml"

PATH=$here/../../.venv/bin:$PATH # where `./do` has made it
COVSVC_STORE=${COVSVC_STORE:-$folder/coverage-cubes}
export PATH COVSVC_STORE

mkdir -p "$folder/validations"
exec 9>"$folder/nightly.lock"
flock -n 9 || {
    echo "nightly.sh: another one is at work in $folder; this one did nothing" >&2
    exit 2
}
exec covsvc validate "$@" --out "$folder/validations/$(date -u +%Y%m%dT%H%M%SZ)"
