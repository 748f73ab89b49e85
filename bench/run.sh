#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmark programs of the build and prints their figures; each prints ratios against a peer in the same run.
# Called by ./dev bench [NAME ...].
set -eu
ran=0
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
	"$program"
	ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { echo "bench: no benchmark of that name; there are:" build/bench/bench_* >&2; exit 2; }
