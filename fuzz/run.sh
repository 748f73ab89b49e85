#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fuzzes with libFuzzer under ASan and UBSan: ./dev fuzz [TARGET] [SECONDS a target]. What is found new stays in
# build-fuzz/corpus; an input that fails is in build-fuzz/crashes, and belongs into fuzz/corpus/TARGET once it is mended:
# the unit tests run over that. FUZZ_SEED makes its random choices the same again.
set -u
cd "$(dirname "$0")/.." || exit 1
only=
seconds=60
for word in "$@"; do
	case $word in
	*[!0-9]*) only=$word ;;
	*) seconds=$word ;;
	esac
done
if ! command -v clang >/dev/null 2>&1; then
	echo "fuzz: skipped: clang is not installed"
	exit 0
fi
if [ ! -f build-fuzz/build.ninja ]; then
	CC=clang meson setup build-fuzz . -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >build-fuzz.log 2>&1 || {
		cat build-fuzz.log >&2
		exit 1
	}
	rm -f build-fuzz.log
fi
targets=
for f in fuzz/fuzz_*.c; do t=${f#fuzz/fuzz_}; targets="$targets ${t%.c}"; done
[ -z "$only" ] || [ -f "fuzz/fuzz_$only.c" ] || { echo "fuzz: no target $only; there are:$targets" >&2; exit 2; }
programs=
for t in ${only:-$targets}; do programs="$programs fuzz/fuzz_$t"; done
# shellcheck disable=SC2086
ninja -C build-fuzz $programs >build-fuzz/build.log 2>&1 || { tail -n 40 build-fuzz/build.log >&2; exit 1; }

# TARGET: fuzzes it, and says what came of it.
one() {
	t=$1
	mkdir -p "build-fuzz/corpus/$t" "build-fuzz/crashes/$t"
	dict=
	[ ! -f "fuzz/$t.dict" ] || dict="-dict=fuzz/$t.dict"
	more=
	[ "$t" != spec ] || more="fixtures/experiments fixtures/suites fixtures/systems"
	log=build-fuzz/$t.log
	# shellcheck disable=SC2086
	if "build-fuzz/fuzz/fuzz_$t" -seed="${FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 $dict \
		-artifact_prefix="build-fuzz/crashes/$t/" "build-fuzz/corpus/$t" "fuzz/corpus/$t" $more >"$log" 2>&1; then
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
		printf 'fuzz: %-10s %9s inputs in %s s, %s edges, nothing found\n' "$t" "$runs" "$seconds" "$cover"
		return 0
	fi
	printf 'fuzz: %s FAILED:\n' "$t"
	grep -v '^#' "$log" | tail -n 60
	return 1
}

# Two at a time: each of them keeps one processor busy.
status=0
running=
for t in ${only:-$targets}; do
	one "$t" >"build-fuzz/$t.said" &
	running="$running $t:$!"
	# shellcheck disable=SC2086
	set -- $running
	[ $# -lt 2 ] || { wait "${1#*:}" || status=1; cat "build-fuzz/${1%:*}.said"; shift; running="$*"; }
done
for t in $running; do
	wait "${t#*:}" || status=1
	cat "build-fuzz/${t%:*}.said"
done
exit $status
