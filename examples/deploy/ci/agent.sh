#!/bin/sh
# Runs an agent on this checkout, and fails when it does not succeed.
#
#   WARP_API_KEY              a team key (a secret of the CI)
#   WARP_SERVER_ROOT_URL      the server
#   OZ_LOG                    where the log goes, one event a line; default oz-agent.ndjson
set -eu
: "${WARP_API_KEY:?is needed: a secret of the CI}" "${WARP_SERVER_ROOT_URL:?is needed: the address of the server}"
[ $# -eq 1 ] || { echo "usage: agent.sh PROMPT" >&2; exit 2; }
status=0
oz agent run --prompt "$1" --share team --output-format ndjson >"${OZ_LOG:-oz-agent.ndjson}" || status=$?
if [ "$status" -ne 0 ]; then
	echo "the agent did not succeed (exit code $status); its log is ${OZ_LOG:-oz-agent.ndjson}" >&2
fi
exit "$status"
