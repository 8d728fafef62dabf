#!/bin/sh
# make-secrets.sh FOLDER: the files that compose.yaml wants. What is there stays; passwords are drawn at random.
# The gateway runs as uid 10001, Grafana as 472 and compose keeps the owner of a file: so the folder is yours alone, and its files are readable.
set -eu
folder=${1:?usage: make-secrets.sh FOLDER}
mkdir -p "$folder"
chmod 0700 "$folder"
umask 022
draw() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
for name in postgres_password grafana_password; do
    [ -s "$folder/$name" ] || draw > "$folder/$name"
done
[ -s "$folder/pg_service" ] || printf '[surefoot]\npassword=%s\n' "$(cat "$folder/postgres_password")" > "$folder/pg_service"
if [ ! -s "$folder/openai_api_key" ]; then
    printf '%s' "${OPENAI_API_KEY:-}" > "$folder/openai_api_key"
    [ -s "$folder/openai_api_key" ] || echo "put the provider's key into $folder/openai_api_key" >&2
fi
