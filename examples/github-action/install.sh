#!/bin/bash
# install.sh resolve: the release that OZ_CHANNEL or OZ_VERSION name, as the output "version".
# install.sh install: puts oz of OZ_VERSION into ~/.oz-bin.
set -euo pipefail
module=github.com/oz-platform/cloudagents
case "${1:-}" in
resolve)
	case "${OZ_CHANNEL:-stable}" in
	stable) query=latest ;;
	preview) query=main ;;
	*)
		echo "oz_channel: '$OZ_CHANNEL' is neither stable nor preview" >&2
		exit 2
		;;
	esac
	version=${OZ_VERSION:-$(go list -m -f '{{.Version}}' "$module@$query")}
	if [[ ! $version =~ ^[A-Za-z0-9][A-Za-z0-9.+-]*$ ]]; then
		echo "oz_version: '$version' is no release" >&2
		exit 2
	fi
	echo "version=$version" >>"$GITHUB_OUTPUT"
	;;
install)
	GOBIN="$HOME/.oz-bin" go install "$module/cmd/oz@$OZ_VERSION"
	;;
*)
	echo "usage: install.sh resolve|install" >&2
	exit 2
	;;
esac
