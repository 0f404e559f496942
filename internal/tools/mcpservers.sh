#!/usr/bin/env bash
# Installs the MCP servers that the tests talk to, at pinned versions, once, into
# a cache outside of the repository: OZ_MCP_DIR, by default oz-mcp in the user's
# cache directory. Versions that are there are left alone.
set -euo pipefail

version=2026.8.31 # of both servers

cache=${OZ_MCP_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/oz-mcp}
to="$cache/$version"
[ -e "$to/node_modules/.bin/mcp-server-everything" ] && [ -e "$to/node_modules/.bin/mcp-server-filesystem" ] && exit 0

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9 # another run of the tests may be fetching
[ -e "$to" ] && exit 0
echo "fetching MCP servers $version"
tmp=$(mktemp -d "$cache/.fetch-XXXXXX")
trap 'rm -rf "$tmp"' EXIT
echo '{"private": true}' >"$tmp/package.json"
npm install --prefix "$tmp" --silent --no-audit --no-fund --ignore-scripts --save-exact \
	"@modelcontextprotocol/server-everything@$version" "@modelcontextprotocol/server-filesystem@$version"
mv "$tmp" "$to" # whole or not at all
trap - EXIT
