#!/usr/bin/env bash
# Fetches pairs of real versions by public package name and exact version with
# npm, go and apt-get, and checks their SHA-256 against pairs.tsv.
#   usage: fetch.sh DIR [NAME...]     no NAME stands for every pair
# Leaves DIR/NAME/{old,new}; packages are kept in DIR/.cache. A pair that cannot
# be had is named, the others are fetched, and the exit code is 1.
# Needs npm, go, apt-get, dpkg-deb, tar, xz, lz4, python3, mke2fs and debugfs,
# each only for the pairs that are made with it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
table=${PAIRS:-$here/pairs.tsv}
[ $# -ge 1 ] || { echo "usage: $0 DIR [NAME...]" >&2; exit 2; }
mkdir -p "$1/.cache"
dir=$(cd "$1" && pwd)
cache=$dir/.cache
shift
export LC_ALL=C TZ=UTC

# sum FILE prints its SHA-256.
sum() { sha256sum <"$1" | cut -c1-64; }

# npm_package NAME@VERSION prints the path of its .tgz.
npm_package() {
  local name=${1%@*} file
  name=${name#@}
  file=$cache/${name//\//-}-${1##*@}.tgz
  [ -s "$file" ] || npm pack --silent --pack-destination "$cache" "$1" >/dev/null 2>&1
  [ -s "$file" ] && echo "$file"
}

# deb_package NAME=VERSION prints the path of its .deb.
deb_package() {
  local file temp
  file=$cache/$(tr ':~+=' '----' <<<"$1").deb
  if [ ! -s "$file" ]; then
    temp=$(mktemp -d "$cache/get.XXXXXX")
    chmod 755 "$temp"
    (cd "$temp" && apt-get -qq -o APT::Sandbox::User=root download "$1" >/dev/null 2>&1 && mv ./*.deb "$file") || true
    rm -rf "$temp"
  fi
  [ -s "$file" ] && echo "$file"
}

# deb_file NAME=VERSION:PATH prints one file of a package.
deb_file() {
  local deb
  deb=$(deb_package "${1%:*}") && dpkg-deb --fsys-tarfile "$deb" | tar xOf - "./${1##*:}"
}

# go_tar MODULE@VERSION prints a tar of the module, the same wherever it is made.
go_tar() {
  local from
  from=$(cd "$cache" && GOFLAGS=-mod=mod GOWORK=off go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -n "$from" ] && tar --sort=name --owner=0 --group=0 --numeric-owner --mode=a=rX --mtime=@0 --format=ustar \
    -C "$from" --transform 's,^\./,m/,' -cf - .
}

# kernel prints the kernel inside the boot image on standard input: the largest
# xz or lz4 stream in it, unpacked.
kernel() {
  python3 -c '
import lzma, subprocess, sys
image, best = sys.stdin.buffer.read(), b""
def xz(part):
    try: return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(part)
    except lzma.LZMAError: return b""
def lz4(part):
    return subprocess.run(["lz4", "-dc"], input=part, capture_output=True).stdout
for magic, unpack in (b"\xfd7zXZ\0", xz), (b"\x02\x21\x4c\x18", lz4):
    if best: break
    at = image.find(magic)
    while at >= 0:
        best = max(best, unpack(image[at:]), key=len)
        at = image.find(magic, at + 1)
if not best: sys.exit("no kernel in the boot image")
sys.stdout.buffer.write(best)'
}

# ext4 MIB:PACKAGE,PACKAGE... FILE makes an image with the packages unpacked:
# order, times and identifiers are fixed, so that it is the same everywhere.
ext4() {
  local root script mib=${1%%:*} packages=${1#*:} package deb
  root=$(mktemp -d "$cache/root.XXXXXX")
  script=$cache/ext4.commands
  for package in ${packages//,/ }; do
    deb=$(deb_package "$package") && dpkg-deb -x "$deb" "$root" || { rm -rf "$root"; return 1; }
  done
  rm -f "$2"
  E2FSPROGS_FAKE_TIME=1700000000 mke2fs -q -t ext4 -b 4096 -I 256 -N 32768 -O ^has_journal,^metadata_csum,^dir_index \
    -U 11111111-2222-3333-4444-555555555555 \
    -E hash_seed=11111111-2222-3333-4444-666666666666,lazy_itable_init=0,nodiscard,root_owner=0:0 "$2" "${mib}M" >/dev/null 2>&1
  {
    echo "set_current_time 20231114221320"
    (cd "$root" && find . -mindepth 1 -printf '%P\t%y\t%l\n' | sort) | while IFS=$'\t' read -r path type link; do
      case $type in
        d) echo "mkdir \"/$path\"" ;;
        f) echo "write \"$root/$path\" \"/$path\"" ;;
        l) echo "symlink \"/$path\" \"$link\"" ;;
      esac
    done
  } >"$script"
  E2FSPROGS_FAKE_TIME=1700000000 debugfs -w -f "$script" "$2" >/dev/null 2>&1
  rm -rf "$root" "$script"
}

# make HOW FILE makes one side of a pair.
make() {
  local what=${1#*:} package
  case $1 in
    npm:*) package=$(npm_package "${what%%:*}") && tar xzOf "$package" "${what#*:}" >"$2" ;;
    npmtgz:*) package=$(npm_package "$what") && cp "$package" "$2" ;;
    npmtar:*) package=$(npm_package "$what") && gzip -dc "$package" >"$2" ;;
    gomod:*) go_tar "$what" >"$2" ;;
    deb:*) deb_file "$what" >"$2" ;;
    debraw:*) package=$(deb_package "$what") && cp "$package" "$2" ;;
    debtar:*) package=$(deb_package "$what") && dpkg-deb --fsys-tarfile "$package" >"$2" ;;
    debtarless:*) package=$(deb_package "${what%%:*}") && IFS=, read -ra less <<<"${what#*:}" &&
      dpkg-deb --fsys-tarfile "$package" | tar --delete --wildcards -f - "${less[@]}" >"$2" ;;
    vmlinux:*) deb_file "$what" | kernel >"$2" ;;
    ext4:*) ext4 "$what" "$2" ;;
    *) return 1 ;;
  esac
}

for name in "$@"; do
  cut -f1 "$table" | grep -qxF -e "$name" || { echo "$name is not in $table" >&2; exit 2; }
done
missing=0
while IFS=$'\t' read -r name kind old new _ _ oldsum newsum; do
  case $name in '' | name) continue ;; esac
  case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
  mkdir -p "$dir/$name"
  for side in old new; do
    file=$dir/$name/$side how=$old want=$oldsum
    [ $side = old ] || how=$new want=$newsum
    if [ -s "$file" ] && [ "$(sum "$file")" = "$want" ]; then continue; fi
    if ! make "$how" "$file.part"; then
      echo "$name: $side cannot be had: $how" >&2
    elif have=$(sum "$file.part") && [ "$have" != "$want" ]; then
      echo "$name: $side has SHA-256 $have, pairs.tsv says $want" >&2
    else
      mv "$file.part" "$file"
      continue
    fi
    rm -f "$file.part"
    missing=1
  done
  if [ -s "$dir/$name/old" ] && [ -s "$dir/$name/new" ]; then echo "$dir/$name"; fi
done <"$table"
exit $missing
