#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Does a test notice when the code is wrong? One small mistake at a time is put into a source file, and the tests are run with it. What they
# let pass is either equivalent or a hole in them. The tree and the build are only read: the mistake is linked before the library.
set -eu

if [ $# -lt 3 ]; then
	echo "usage: tests/mutate.sh BUILD SOURCE TEST...
	e.g. tests/mutate.sh build host/check/facts.c check_facts check_tasks
A sanitized build notices more, and takes longer. MUTATE_LINES=40-60 keeps to these lines of the source." >&2
	exit 2
fi
build=$(realpath "$1")
source=$2
shift 2
lines=${MUTATE_LINES:-1-99999999}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

awk -v from="${lines%-*}" -v to="${lines#*-}" -f "$(dirname "$0")/mistakes.awk" "$source" >"$tmp/mistakes"

compile=$(ninja -C "$build" -t commands | grep -F "/$source" | grep -e ' -c ' | tail -n 1 | sed 's/ -MD .*//')
[ -n "$compile" ] || { echo "$build does not compile $source" >&2; exit 2; }
for test; do
	ninja -C "$build" "tests/test_$test" >"$tmp/out" || { cat "$tmp/out" >&2; exit 2; }
	ninja -C "$build" -t commands "tests/test_$test" | tail -n 1 |
		sed "s| -o tests/test_$test | -o $tmp/test_$test $tmp/mutant.o |" >"$tmp/link_$test"
done
here=$(realpath "$(dirname "$source")")

# A mistake may be one that writes without end.
ulimit -f 4194304 # blocks of 512 bytes

# 0: some test noticed, or it does not even link.
noticed() {
	for test; do
		(cd "$build" && sh "$tmp/link_$test") >/dev/null 2>&1 || return 0
		(cd "$build" && CMOCKA_MESSAGE_OUTPUT=TAP timeout 60 "$tmp/test_$test" || exit 1) >/dev/null 2>&1 || return 0
	done
	return 1
}

compiled() { # the file on standard input
	cat >"$tmp/mutant.c"
	(cd "$build" && sh -c "$compile -w -O0 -I$here -o $tmp/mutant.o -c $tmp/mutant.c") >/dev/null 2>&1
}

compiled <"$source" || { echo "$source does not compile by itself" >&2; exit 2; }
! noticed "$@" || { echo "the tests fail without any mistake" >&2; exit 2; }
all=0 killed=0
separator=$(printf '\001')
while IFS=$separator read -r line what becomes; do
	BECOMES=$becomes awk -v n="$line" -f "$(dirname "$0")/mistaken.awk" "$source" | compiled || continue
	all=$((all + 1))
	if noticed "$@"; then
		killed=$((killed + 1))
	else
		printf '%s:%d: %s: %s\n' "$source" "$line" "$what" "$(echo "$becomes" | tr -d '\t')"
	fi
done <"$tmp/mistakes"
echo "$source: $killed of $all mistakes noticed"
