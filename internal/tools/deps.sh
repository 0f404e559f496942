#!/usr/bin/env bash
# Installs the programs that the tests use and this machine lacks: Debian's
# packages, for root. Elsewhere it says what is missing.
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null || missing+=("$2")
}
need git git
need gcc gcc          # the race detector
need setsid util-linux
need ip iproute2        # a firewall around a worker
need pkill procps        # ends what they started
need jq jq              # the dispatch commands of workers
need node nodejs      # the official SDK as a client of ours
need npm npm
need chromium chromium  # the web app in a real browser
need containerd containerd   # containers in private daemons
need runc runc
need busybox busybox-static
need iptables iptables
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)

[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "the tests need these packages (Debian's names): ${missing[*]}" >&2
	exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
# A test starts its own PostgreSQL; the package need not start one.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
