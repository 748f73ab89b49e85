#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every test, in the order in which a failure is cheapest to find; counts them, and ends with "N passed, N failed" alone on a line.
# Called by ./dev test. $1 = yes: only the unit tests of the plain build.
set -u
quick=${1:-no}
passed=0
failed=0
failures=
processes=2 # tests at a time

# Adds the counts of a meson test run's log of JSON lines.
count() {
	log=$1
	ok=$(grep -c '"result": "\(OK\|EXPECTEDFAIL\|SKIP\)"' "$log" || true)
	all=$(grep -c '"result": ' "$log" || true)
	passed=$((passed + ok))
	failed=$((failed + all - ok))
	for name in $(grep -v '"result": "\(OK\|EXPECTEDFAIL\|SKIP\)"' "$log" | sed 's/.*"name": "\([^"]*\)".*/\1/'); do
		failures="$failures $2:$name"
	done
	[ "$all" -gt 0 ] || { failed=$((failed + 1)); failures="$failures $2:no-test-ran"; }
}

# step NAME COMMAND...: one more test, that passes when the command does.
step() {
	name=$1
	shift
	printf '== %s\n' "$name"
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		failures="$failures $name"
	fi
}

# aside NAME COMMAND...: the same as a step, but beside what follows, with the time that the processors have left: what runs on the
# real system waits most of the time. `joined` waits for it, prints what it has printed, and counts it. One at a time.
aside() {
	aside_name=$1
	shift
	aside_log=$(mktemp)
	"$@" >"$aside_log" 2>&1 &
	aside_pid=$!
	trap 'kill "$aside_pid" 2>/dev/null; exit 143' INT TERM
}

joined() {
	printf '== %s\n' "$aside_name"
	if wait "$aside_pid"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		failures="$failures $aside_name"
	fi
	trap - INT TERM
	cat "$aside_log"
	rm -f "$aside_log"
}

# suite NAME: the verdicts of fixtures/suites/NAME.yaml on the reference orchestrator, with a fresh seed, which is printed.
suite() {
	state=$(mktemp -d)
	TRITONE_STATE=$state build/tritone test --jobs 4 "fixtures/suites/$1.yaml" 2>"$state/progress"
	status=$?
	grep '^seed' "$state/progress"
	[ "$status" -ne 0 ] || rm -rf "$state"
	return "$status"
}

# Fresh seeds of the simulation for so much processor time: about half a million, none of which may deviate. Which they are follows
# from the commit (or TRITONE_SEED), so that whoever tests the same commit runs the same ones. What deviates is shrunk into build/, and
# told with the command that replays it. --budget is for a machine that has no time for it.
simulation() {
	seed=${TRITONE_SEED:-$(git rev-parse HEAD 2>/dev/null || date +%s)}
	exec nice -n 19 build/tritone simulate --seeds "$seed" --cpu "${SIM_BUDGET:-5m}" --budget 8m -j2 -o build
}

# A seeded bug that the simulation must find, or it finds nothing.
canary() {
	seed=${TRITONE_SEED:-$(git rev-parse HEAD 2>/dev/null || date +%s)}
	build/tritone simulate --seeds "$seed" --count 20000 -j2 --bug double-commit-on-retry -o build
	[ $? -eq 1 ]
}

# The same seeds are the same stories, whatever compiled them: gcc with -O2 and -O0, clang, with and without sanitizers.
same_story() {
	[ -f build-o0/build.ninja ] || meson setup build-o0 . -Doptimization=0 >/dev/null || return 1
	ninja -C build-o0 tritone >build-o0/build.log 2>&1 || { tail -n 40 build-o0/build.log; return 1; }
	wanted=$(build/tritone simulate --seeds 1..400 --no-shrink | grep '^trace') || return 1
	for dir in build-o0 build-clang build-asan; do
		[ -x "$dir/tritone" ] || continue
		found=$("$dir/tritone" simulate --seeds 1..400 --no-shrink | grep '^trace')
		echo "$dir: $found"
		[ "$found" = "$wanted" ] || { echo "$dir tells another story than build: $wanted"; return 1; }
	done
}

# meson_tests BUILD SUITE...
meson_tests() {
	dir=$1
	shift
	suites=
	for s in "$@"; do suites="$suites --suite $s"; done
	printf '== %s:%s\n' "$dir" "$suites"
	rm -f "$dir/meson-logs/testlog.json"
	# shellcheck disable=SC2086
	meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$processes" $suites
	if [ -f "$dir/meson-logs/testlog.json" ]; then
		count "$dir/meson-logs/testlog.json" "$dir"
		grep '^# skipped: ' "$dir/meson-logs/testlog.txt" || true
	else
		failed=$((failed + 1))
		failures="$failures $dir"
	fi
}

meson_tests build unit
if [ "$quick" = no ]; then
	step simulation-canary canary
	aside simulation simulation
	processes=4 # they wait for each other's processes, most of the time
	meson_tests build e2e
	processes=2
	step recovery suite recovery
	step known-bugs suite known-bugs
	# LangGraph from npm, killed: 10 to 40 seconds, and two minutes the first time. Skipped where npm or its registry is missing, and says so.
	step foreign fixtures/foreign/run.sh --ci
	# The providers' own clients from npm, at the gateway: 10 to 20 seconds, and half a minute more the first time. Skipped likewise.
	step clients tests/clients/run.sh build
	joined
	step lint ./dev lint
	# 8 targets: half a minute, and what it takes to build them
	# The same inputs each time: what guards main says the same of the same code. ./dev fuzz is for finding.
	step fuzz env FUZZ_SEED=1 fuzz/run.sh 8
	if [ ! -f build-asan/build.ninja ]; then
		meson setup build-asan . -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	fi
	if ninja -C build-asan >build-asan/build.log 2>&1; then
		meson_tests build-asan unit
	else
		tail -n 40 build-asan/build.log
		step build-asan false
	fi
	step same-story same_story
fi

[ -z "$failures" ] || printf 'failed:%s\n' "$failures"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
