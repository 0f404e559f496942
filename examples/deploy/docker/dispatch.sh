#!/bin/sh
# Dispatch command of oz-worker: starts a run in a container of its own.
#
#   OZ_AGENT          static oz, mounted into whatever image the run has; default /usr/local/bin/oz
#   OZ_NETWORK        network of the container; default bridge
set -eu
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/run.json"
jq -r '.env | to_entries[] | "\(.key)=\(.value)"' "$dir/run.json" >"$dir/env"
limits=$(jq -r '.instance_shape // {} | [(.vcpus // empty | "--cpus=\(.)"), (.memory_gb // empty | "--memory=\(.)g")] | join(" ")' "$dir/run.json")
eval "set -- $(jq -r '.base_args | @sh' "$dir/run.json")"
# shellcheck disable=SC2086 # limits are words
exec_id=$(docker run --detach --rm --init --name "oz-$OZ_EXECUTION_ID" --label "oz-run=$OZ_RUN_ID" $limits \
	--network "${OZ_NETWORK:-bridge}" --cap-drop ALL --security-opt no-new-privileges --env-file "$dir/env" \
	--volume "${OZ_AGENT:-/usr/local/bin/oz}:/usr/local/bin/oz:ro" --workdir /workspace \
	--entrypoint /usr/local/bin/oz "$OZ_DOCKER_IMAGE" "$@")
echo "container $exec_id"
