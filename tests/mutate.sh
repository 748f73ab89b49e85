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

# Each mistake is a line: its place, what it is, and the line as it becomes.
awk -v from="${lines%-*}" -v to="${lines#*-}" -v apostrophe="'" '
function masked(s,    literal) { # strings, characters and comments say nothing
	literal = "\"([^\"\\\\]|\\\\.)*\"|" apostrophe "([^" apostrophe "\\\\]|\\\\.)" apostrophe "|/\\*.*\\*/"
	while (match(s, literal))
		s = substr(s, 1, RSTART - 1) sprintf("%" RLENGTH "s", "") substr(s, RSTART + RLENGTH)
	return s
}
function mistake(what, becomes) {
	if (becomes != $0)
		printf "%d\001%s\001%s\n", NR, what, becomes
}
function replace(at, size, with) {
	mistake(substr($0, at, size) " -> " with, substr($0, 1, at - 1) with substr($0, at + size))
}
function depth(s,    opened) {
	opened = gsub(/\(/, "", s)
	return opened - gsub(/\)/, "", s)
}
BEGIN {
	split("<= < >= > == != != == && || || && += -= -= += ++ -- -- ++", pair, " ")
	for (i = 1; i in pair; i += 2)
		other[pair[i]] = pair[i + 1]
	for (i = split("-> << >>", pair, " "); i > 0; i--)
		other[pair[i]] = ""
}
{
	line = masked($0)
	before = last
	last = line ~ /^[ \t]*$/ ? last : line
}
comment { comment = line !~ /\*\//; next }
line ~ /^[ \t]*\/\*/ { comment = 1; next }
NR < from || NR > to || line !~ /^\t/ || line ~ /^[ \t]*#/ { next }
{
	for (i = 1; i <= length(line); i++) {
		one = substr(line, i, 1)
		two = substr(line, i, 2)
		if (two in other) {
			if (other[two] != "")
				replace(i, 2, other[two])
			i++
		} else if (one == "<" || one == ">")
			replace(i, 1, one "=")
		else if (one == "!")
			replace(i, 1, "")
		else if (substr(line, i, 3) ~ /^ [-+*] $/)
			replace(i, 3, one = substr(line, i + 1, 1) == "+" ? " - " : substr(line, i + 1, 1) == "-" ? " + " : " / ")
		else if (one ~ /[0-9]/) {
			match(substr(line, i), /^[0-9]+/)
			size = RLENGTH
			if (substr(line, i - 1, 1) !~ /[A-Za-z0-9_.]/ && substr(line, i + size, 1) !~ /[A-Za-z0-9_.]/)
				replace(i, size, substr(line, i, size) + 1)
			i += size - 1
		}
	}
	if (line ~ /^\t+(else )?if \(.*\)( \{)?$/ && depth(line) == 0) {
		head = index($0, "if (") + 3
		tail = length(line) - (line ~ /\{$/ ? 2 : 0)
		mistake("never", substr($0, 1, head) "0 && (" substr($0, head + 1, tail - head) ")" substr($0, tail + 1))
		mistake("negated", substr($0, 1, head) "!(" substr($0, head + 1, tail - head) ")" substr($0, tail + 1))
	}
	if (line ~ /;$/ && depth(line) == 0 && line !~ /^\t+(\(void\)|(const|struct|enum|static|bool|char|int|size_t|double|u?int[0-9]+_t) )/ &&
	    (before ~ /[;{}:]$/ || before ~ /^\t*(else|if .*\)|for .*\))$/ || before ~ /^\t*\} else$/))
		mistake("dropped", ";")
}' "$source" >"$tmp/mistakes"

compile=$(ninja -C "$build" -t commands | grep -F "/$source" | grep -e ' -c ' | tail -n 1 | sed 's/ -MD .*//')
[ -n "$compile" ] || { echo "$build does not compile $source" >&2; exit 2; }
for test; do
	ninja -C "$build" "tests/test_$test" >"$tmp/out" || { cat "$tmp/out" >&2; exit 2; }
	ninja -C "$build" -t commands "tests/test_$test" | tail -n 1 |
		sed "s| -o tests/test_$test | -o $tmp/test_$test $tmp/mutant.o |" >"$tmp/link_$test"
done
here=$(realpath "$(dirname "$source")")

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
	BECOMES=$becomes awk -v n="$line" 'NR == n { print ENVIRON["BECOMES"]; next } { print }' "$source" | compiled || continue
	all=$((all + 1))
	if noticed "$@"; then
		killed=$((killed + 1))
	else
		printf '%s:%d: %s: %s\n' "$source" "$line" "$what" "$(echo "$becomes" | tr -d '\t')"
	fi
done <"$tmp/mistakes"
echo "$source: $killed of $all mistakes noticed"
