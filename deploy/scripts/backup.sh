#!/bin/sh
# backup.sh URL FOLDER [KEEP]: a copy of what is kept at URL, named by the moment, with its checksum; the newest KEEP (14) stay.
set -eu
url=${1:?usage: backup.sh URL FOLDER [KEEP]}
folder=${2:?usage: backup.sh URL FOLDER [KEEP]}
keep=${3:-14}
mkdir -p "$folder"
umask 077
name="surefoot-$(date -u +%Y%m%dT%H%M%SZ).gz"
trap 'rm -f "$folder/.$name"' EXIT
surefoot backup "$url" --to "$folder/.$name"
gzip -t "$folder/.$name"
mv "$folder/.$name" "$folder/$name"
(cd "$folder" && sha256sum "$name" > "$name.sha256")
# Only now, with a good one there, do older ones go.
find "$folder" -maxdepth 1 -name 'surefoot-*.gz' | sort -r | tail -n "+$((keep + 1))" | while read -r old; do rm -f "$old" "$old.sha256"; done
echo "$folder/$name"
