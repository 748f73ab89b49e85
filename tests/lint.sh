#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# clang-format, cppcheck and clang-tidy over every C file that git knows; any finding fails. Called by ./dev lint.
set -u
status=0
files=$(git ls-files '*.c' '*.h')

# shellcheck disable=SC2086
clang-format --dry-run -Werror $files || status=1

# varFuncNullUB: NULL is a pointer on every machine that this runs on (POSIX says so). memleak in tests: a failed
# assertion does not return, and its process ends.
# shellcheck disable=SC2086
cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	--suppress=missingIncludeSystem '--suppress=memleak:tests/*' --suppress=varFuncNullUB --library=tests/cppcheck.cfg -I. -Iinclude -Ihost -j 2 $(git ls-files '*.c') || status=1

if [ ! -f build-clang/build.ninja ]; then
	CC=clang meson setup build-clang . >/dev/null || exit 1
fi
ninja -C build-clang >build-clang/build.log 2>&1 || { tail -n 40 build-clang/build.log; exit 1; }
# Not the tests: the analyzer does not know that a failed assertion does not return (cmocka leaves by longjmp).
git ls-files '*.c' ':!tests' | xargs -P 2 -n 8 clang-tidy --quiet -p build-clang 2>build-clang/tidy.err || status=1
grep -v 'warnings generated\|Suppressed\|Use -header-filter' build-clang/tidy.err >&2 || true
exit $status
