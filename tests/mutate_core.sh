#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Are the invariants any good? One small mistake at a time is put into the reference orchestrator's core or policy, the simulator is linked with
# it, and simulates: which invariant notices? What none does is shown to the unit tests of the core. The tree is only read.
# What was done is kept in BUILD/mutants (of this core and these checkers), and not done again.
set -eu

if [ $# -lt 1 ]; then
	echo "usage: tests/mutate_core.sh BUILD [COUNT [SEED]]
COUNT (400) of all mistakes, drawn by SEED (1). MUTATE_SEEDS: seeds of the simulation for each (4000); MUTATE_JOBS: at a time (2);
MUTATE_FILES: only in these; MUTATE_NUMBERS: only these, by their numbers among all (the names of the files in BUILD/mutants);
MUTATE_UNIT: these unit tests (none: what no invariant notices has survived);
MUTATE_TABLE=yes: only the table of what was done." >&2
	exit 2
fi
here=$(realpath "$(dirname "$0")")
build=$(realpath "$1")
count=${2:-400}
seed=${3:-1}
seeds=${MUTATE_SEEDS:-4000}
jobs=${MUTATE_JOBS:-2}
cd "$here/.."
source=$(pwd)

# Not those that only answer questions (status, digest), nor the parsing of options (policy) and names (bugs): unit tests look at them.
files=${MUTATE_FILES:-$(ls fixtures/conductor/core/*.c fixtures/conductor/policy/*.c | grep -vE '/(status|digest|policy|bugs)\.c$')}
unit=${MUTATE_UNIT-"core_life core_faults core_slo core_records core_snapshot core_checkpoint core_retire core_bugs core_recover core_chaos"}

ninja -C "$build" tests/mutant $(for test in $unit; do echo "tests/test_$test"; done) >"$build/mutants.log" || { cat "$build/mutants.log" >&2; exit 2; }
state=$(cat fixtures/conductor/core/* fixtures/conductor/policy/* sim/*.[ch] host/check/*.[ch] tests/mutant.c tests/sim/*.json tests/test_core_*.c tests/core_* | cksum | tr ' ' -)
kept=$build/mutants/$state-$seeds
mkdir -p "$kept"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

link() { # how PROGRAM is linked, with the mutant before the libraries
	ninja -C "$build" -t commands "$1" | tail -n 1
}
for file in $files; do
	name=$(echo "$file" | tr / -)
	ninja -C "$build" -t commands | grep -F "/$file" | grep -e ' -c ' | tail -n 1 | sed 's/ -MD .*//' >"$tmp/compile-$name"
	[ -s "$tmp/compile-$name" ] || { echo "$build does not compile $file" >&2; exit 2; }
	awk -v from=1 -v to=99999999 -v skip='BUG_|core_bug|assert' -f "$here/mistakes.awk" "$file" |
		awk -v file="$file" -v OFS='\001' '{ print file, $0 }'
done >"$tmp/all"
link tests/mutant >"$tmp/link-mutant"
for test in $unit; do
	link "tests/test_$test" >"$tmp/link-test_$test"
done

# Drawn without any program's own idea of chance; each has its number among all of them.
awk -v seed="$seed" 'BEGIN { x = seed % 2147483646 + 1 } { x = (x * 16807) % 2147483647; printf "%010d\001%d\001%s\n", x, NR, $0 }' "$tmp/all" |
	sort | awk -F '\001' -v count="$count" -v numbers="${MUTATE_NUMBERS:-}" '
		BEGIN { for (i = split(numbers, one, " "); i > 0; i--) wanted[one[i]] = 1 }
		numbers == "" ? NR <= count : $2 in wanted' | cut -d "$(printf '\001')" -f 2- >"$tmp/drawn"
echo "mutate: $(wc -l <"$tmp/drawn") of $(wc -l <"$tmp/all") mistakes, $seeds seeds each" >&2

linked() { # WORK PROGRAM: with the mutant
	(cd "$build" && sed "s| -o tests/$2 | -o $1/$2 $1/mutant.o |" "$tmp/link-$2" | sh) >/dev/null 2>&1
}

# One mistake: prints its verdict, what noticed first, where, and all that noticed.
one() { # WORK FILE LINE BECOMES
	name=$(echo "$2" | tr / -)
	BECOMES=$4 awk -v n="$3" -f "$here/mistaken.awk" "$2" >"$1/mutant.c"
	(cd "$build" && sh -c "$(cat "$tmp/compile-$name") -Wno-error -Werror=return-type -O1 -I$source/$(dirname "$2") -o $1/mutant.o -c $1/mutant.c") >/dev/null 2>&1 &&
		linked "$1" mutant || { echo "compiler"; return; }
	code=0
	(ulimit -c 0; ulimit -t 40; exec "$1/mutant" "$seeds" tests/sim/*.json) >"$1/out" 2>/dev/null || code=$?
	if [ -s "$1/out" ]; then
		printf 'invariant\t%s\t%s\n' "$(head -n 1 "$1/out")" "$(sed -n 2p "$1/out")"
	elif [ $code -eq 0 ]; then
		for test in $unit; do
			linked "$1" "test_$test" || continue
			if ! (ulimit -c 0; ulimit -t 20; CMOCKA_MESSAGE_OUTPUT=TAP exec "$1/test_$test") >/dev/null 2>&1; then
				printf 'unit\t%s\n' "$test"
				return
			fi
		done
		echo "survived"
	elif [ $code -eq 137 ] || [ $code -eq 152 ]; then
		echo "hang"
	elif [ $code -gt 128 ]; then
		printf 'crash\tsignal %d\n' $((code - 128))
	else
		printf 'crash\tstatus %d\n' $code
	fi
}

worker() { # NUMBER
	work=$tmp/work$1
	mkdir -p "$work"
	separator=$(printf '\001')
	at=0
	while IFS=$separator read -r number file line what becomes; do
		at=$((at + 1))
		[ $((at % jobs)) -eq "$1" ] || continue
		[ ! -s "$kept/$number" ] || continue
		verdict=$(one "$work" "$file" "$line" "$becomes")
		[ "$becomes" = ";" ] && text=$(sed -n "${line}p" "$file") || text=$becomes
		text=$(printf '%s' "$text" | tr '\002' '|' | tr -d '\t')
		printf '%s\t%s\t%s\t%s\t%s\n' "$file" "$line" "$what" "$text" "$verdict" >"$work/result"
		mv "$work/result" "$kept/$number"
		printf '%s:%s: %s: %s\n' "$file" "$line" "$what" "$(echo "$verdict" | tr '\t' ' ')" >&2
	done <"$tmp/drawn"
}

if [ "${MUTATE_TABLE:-no}" != yes ]; then
	(cd "$build" && sh "$tmp/link-mutant") >/dev/null 2>&1 || { echo "the simulator does not link" >&2; exit 2; }
	"$build/tests/mutant" 500 tests/sim/*.json >/dev/null 2>&1 || { echo "it deviates without any mistake" >&2; exit 2; }
	pids=
	for number in $(seq 0 $((jobs - 1))); do
		worker "$number" &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid"
	done
fi
cut -d "$(printf '\001')" -f 1 "$tmp/drawn" | while read -r number; do
	[ ! -s "$kept/$number" ] || cat "$kept/$number"
done >"$kept.tsv"
awk -f "$here/mutants.awk" "$kept.tsv"
