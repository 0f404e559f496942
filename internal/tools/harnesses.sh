#!/usr/bin/env bash
# Installs the third parties' coding agents that the tests drive, at the pinned
# versions, once, into a cache outside of the repository: OZ_HARNESS_DIR, by
# default oz-harnesses in the user's cache directory. Only what runs of each
# is fetched; a version that is there is left alone.
#
#   harnesses.sh [claude|codex|gemini|opencode ...]     default: all
set -euo pipefail

claude_version=2.1.330
codex_version=0.169.0
gemini_version=0.61.0
opencode_version=1.18.33

cache=${OZ_HARNESS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/oz-harnesses}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platform=linux-x64 triple=x86_64-unknown-linux-musl ;;
Linux-aarch64) platform=linux-arm64 triple=aarch64-unknown-linux-musl ;;
*)
	echo "harnesses.sh: the tests drive third parties' agents on Linux (x64, arm64) only" >&2
	exit 0
	;;
esac

# fetch NAME VERSION NPM-SPEC FILE-IN-PACKAGE puts the binary at
# CACHE/NAME/VERSION/NAME. It appears whole or not at all.
fetch() {
	local name=$1 version=$2 spec=$3 file=$4
	local to="$cache/$name/$version"
	[ -x "$to/$name" ] && return
	echo "fetching $name $version"
	mkdir -p "$to"
	local tmp
	tmp=$(mktemp -d "$cache/.fetch-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && npm pack --silent "$spec" >packed)
	tar -xzf "$tmp/$(tail -n 1 "$tmp/packed")" -C "$tmp"
	# The binary may look for what lies beside it.
	mv "$tmp/package" "$to/package.new"
	rm -rf "$to/package"
	mv "$to/package.new" "$to/package"
	chmod +x "$to/package/$file"
	ln -sfn "package/$file" "$to/$name"
	rm -rf "$tmp"
	trap - EXIT
}

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(claude codex gemini opencode)
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # another run of the tests may be fetching
for name in "${wanted[@]}"; do
	case "$name" in
	claude) fetch claude "$claude_version" "@anthropic-ai/claude-code-$platform@$claude_version" claude ;;
	codex) fetch codex "$codex_version" "@openai/codex@$codex_version-$platform" "vendor/$triple/bin/codex" ;;
	gemini) fetch gemini "$gemini_version" "@google/gemini-cli@$gemini_version" bundle/gemini.js ;; # node runs it
	opencode) fetch opencode "$opencode_version" "opencode-$platform@$opencode_version" bin/opencode ;;
	*)
		echo "harnesses.sh: $name is none of claude, codex, gemini, opencode" >&2
		exit 2
		;;
	esac
done
