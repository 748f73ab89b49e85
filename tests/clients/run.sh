#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Drives the providers' own clients through every fault of the gateway: run.sh BUILD-DIRECTORY. They are installed below it, once for
# each lock file. With CLIENTS_UPSTREAM=1 the gateway asks another one, as it would a real provider. Skipped, with a line that says
# so, where there is no node of their version, no npm, or no registry.
set -eu
build=$(cd "$1" && pwd)
cd "$(dirname "$0")"
home=$build/clients
skip() { echo "clients: skipped: $*"; exit 0; }

command -v node >/dev/null 2>&1 || skip "there is no node here"
[ "$(node -p 'process.versions.node.split(".")[0] >= 18')" = true ] || skip "node $(node --version) is older than 18"
stamp=$(cat package.json package-lock.json | cksum)
if [ "$(cat "$home/stamp" 2>/dev/null)" != "$stamp" ]; then
	command -v npm >/dev/null 2>&1 || skip "there is no npm here to install them"
	rm -rf "$home"
	mkdir -p "$home"
	cp package.json package-lock.json .npmrc "$home"
	(cd "$home" && timeout 300 npm ci --ignore-scripts --prefer-offline --loglevel=error) >"$home/npm.log" 2>&1 || {
		cat "$home/npm.log" >&2
		skip "npm cannot install them"
	}
	printf '%s\n' "$stamp" >"$home/stamp"
fi
# A module is looked for beside the file that names it.
cp ./*.mjs "$home"
cd "$home"
TRITONE=$build/tritone exec node --test --test-reporter=spec clients.test.mjs
