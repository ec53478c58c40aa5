#!/usr/bin/env bash
# Runs idp.py over a throw-away PostgreSQL with the example's users, until Enter or Ctrl-C. Options
# are idp.py's. Needs PostgreSQL's server programs (Debian: postgresql) and requirements.txt;
# without them it ends with status 69.
set -euo pipefail
cd "$(dirname "$0")"

missing() {
  printf 'missing: %s\n' "$1" >&2
  exit 69
}

for folder in /usr/lib/postgresql/*/bin; do PATH=$folder:$PATH; done
command -v initdb >/dev/null || missing "PostgreSQL's server (apt-get install postgresql)"
python3 -c 'import argon2, psycopg, psycopg_pool' 2>/dev/null ||
  missing 'Python packages (pip install --requirement requirements.txt)'

# PostgreSQL refuses to run as root.
as_owner() {
  if ((EUID == 0)); then (cd / && runuser -u postgres -- env PATH="$PATH" "$@"); else "$@"; fi
}

folder=$(mktemp -d)
clean_up() {
  kill $(jobs -p) 2>/dev/null || true
  as_owner pg_ctl -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap clean_up EXIT
((EUID != 0)) || chown postgres "$folder"

as_owner initdb -D "$folder/data" --auth=trust --username=idp --no-sync >/dev/null
# Only through a socket in its own folder, so no port is needed.
as_owner pg_ctl -D "$folder/data" -l "$folder/log" -w start -o "-F -h '' -k $folder" >/dev/null
database="postgresql:///postgres?host=$folder&user=idp"
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --single-transaction \
  --file schema.sql --file example-users.sql "$database"

python3 idp.py --database "$database" "$@" </dev/null &
exec 3<&0
{ read -r _ <&3 || true; } &
# Whichever ends first.
wait -n
