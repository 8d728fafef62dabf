#!/bin/sh
# restore.sh FILE URL [--replace]: put a copy of backup.sh into the database at URL, once its checksum has been found right.
set -eu
file=${1:?usage: restore.sh FILE URL [--replace]}
url=${2:?usage: restore.sh FILE URL [--replace]}
shift 2
(cd "$(dirname "$file")" && sha256sum --quiet --check "$(basename "$file").sha256")
surefoot restore "$file" --to "$url" "$@"
