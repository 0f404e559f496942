#!/bin/sh
# Cancel command of oz-worker: its success says that nothing of the run is left.
set -eu
name=oz-$(printf %s "$OZ_EXECUTION_ID" | tr A-Z a-z)
kubectl --namespace "${OZ_NAMESPACE:-default}" delete job "$name" --ignore-not-found --cascade=foreground --wait --timeout=9s
