#!/bin/bash
# Runs an agent as the variables OZ_* say, shows what it says, and gives that to later steps as "agent_output". It ends
# as the agent does. Nothing from outside becomes part of this program: texts are handed on as arguments.
set -euo pipefail
: "${WARP_API_KEY:?is needed: give warp_api_key}" "${WARP_SERVER_ROOT_URL:?is needed: give server}"
if [ -z "${OZ_PROMPT:-}${OZ_SAVED_PROMPT:-}${OZ_SKILL:-}" ]; then
	echo "prompt, saved_prompt or skill is needed" >&2
	exit 2
fi
args=()
# give NAME VALUE adds a flag, unless the value is empty.
give() { [ -z "$2" ] || args+=("--$1=$2"); }
# each NAME VALUES adds a flag for each line.
each() {
	local line
	while IFS= read -r line; do give "$1" "$line"; done <<<"$2"
}
# on NAME VALUE adds a switch; "true" is the only word for it.
on() { [ "$2" != true ] || args+=("--$1"); }

if [ "${OZ_CLOUD:-}" = true ]; then
	if [ "${OZ_CWD:-.}" != . ] || [ -n "${OZ_PROFILE:-}${OZ_SHARE:-}" ]; then
		echo "cwd, profile and share have no meaning with cloud: the agent works on the server, for the key's team" >&2
		exit 2
	fi
	args+=(agent run-cloud --follow)
	give host "${OZ_HOST:-}"
else
	if [ -n "${OZ_HOST:-}" ]; then
		echo "host has a meaning only with cloud" >&2
		exit 2
	fi
	args+=(agent run)
	give cwd "${OZ_CWD:-}"
	give profile "${OZ_PROFILE:-}"
	each share "${OZ_SHARE:-}"
fi
give prompt "${OZ_PROMPT:-}"
give saved-prompt "${OZ_SAVED_PROMPT:-}"
give skill "${OZ_SKILL:-}"
give model "${OZ_MODEL:-}"
give name "${OZ_NAME:-}"
each mcp "${OZ_MCP:-}"
give environment "${OZ_ENVIRONMENT:-}"
give output-format "${OZ_OUTPUT_FORMAT:-text}"
on debug "${OZ_DEBUG:-}"
on computer-use "${OZ_COMPUTER_USE:-}"

said=$(mktemp)
trap 'rm -f "$said"' EXIT
status=0
oz "${args[@]}" | tee "$said" || status=${PIPESTATUS[0]}

# A word that nobody can guess ends the output, so that no agent can set others.
end="end-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
{
	echo "agent_output<<$end"
	tail -c 500000 "$said"
	echo
	echo "$end"
} >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$status"
