#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmark programs of the build and prints their figures; each prints ratios against a peer in the same run.
# Called by ./dev bench [--quick] [NAME ...]; --quick takes fewer rounds and is for a look, not for a figure to quote.
set -eu
quick=
if [ "${1:-}" = --quick ]; then
	quick=--quick
	shift
fi
ran=0
failed=
for program in build/bench/bench_*; do
	case $program in *.p | *.c) continue ;; esac
	[ -x "$program" ] || continue
	name=$(basename "$program")
	name=${name#bench_}
	if [ $# -gt 0 ]; then
		wanted=no
		for w in "$@"; do [ "$w" = "$name" ] && wanted=yes; done
		[ "$wanted" = yes ] || continue
	fi
	printf '== %s\n' "$name"
	# One that cannot run here does not keep the others from running.
	"$program" $quick || failed="$failed $name"
	ran=$((ran + 1))
done
[ -z "$failed" ] || { echo "bench: failed:$failed" >&2; exit 1; }
[ "$ran" -gt 0 ] || { echo "bench: no benchmark of that name; there are: $(cd build/bench && ls -d bench_* | sed -n 's/^bench_\([a-z]*\)$/\1/p' | tr '\n' ' ')" >&2; exit 2; }
