#!/usr/bin/env bash
# Fetches pairs of real versions by package name with npm and checks their
# SHA-256. usage: fetch.sh DIR; leaves DIR/NAME/{old,new}. Needs npm and tar.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
grep -v '^#' "$here/pairs.tsv" | while IFS=$'\t' read -r name old oldsum new newsum; do
  mkdir -p "$dir/$name"
  for side in "old $old $oldsum" "new $new $newsum"; do
    read -r which spec sum <<<"$side"
    file=$dir/$name/$which
    if [ ! -s "$file" ] || [ "$(sha256sum <"$file" | cut -c1-64)" != "$sum" ]; then
      tmp=$(mktemp -d)
      npm pack --silent --pack-destination "$tmp" "${spec%:*}" >/dev/null
      tar xzOf "$tmp"/*.tgz "${spec##*:}" >"$file"
      rm -rf "$tmp"
    fi
    if [ "$(sha256sum <"$file" | cut -c1-64)" != "$sum" ]; then
      echo "$file is not what pairs.tsv says" >&2
      rm -f "$file"
      exit 1
    fi
  done
  echo "$dir/$name"
done
