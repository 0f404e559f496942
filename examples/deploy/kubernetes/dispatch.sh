#!/bin/sh
# Dispatch command of oz-worker: makes a Job for a run, and a Secret of the same life for what nobody may see.
#
#   OZ_NAMESPACE      where; default default
#   OZ_AGENT_IMAGE    image with oz and git; default that of the run
set -eu
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/run.json"
name=oz-$(printf %s "$OZ_EXECUTION_ID" | tr A-Z a-z)

jq --arg name "$name" --arg image "${OZ_AGENT_IMAGE:-}" '{
  apiVersion: "batch/v1", kind: "Job",
  metadata: {name: $name, labels: {"oz-run": .run_id, "oz-execution": .execution_id, "oz-worker": .worker_id}},
  spec: {
    backoffLimit: 0, ttlSecondsAfterFinished: 3600,
    template: {
      metadata: {labels: {"oz-run": .run_id}},
      spec: {
        restartPolicy: "Never", automountServiceAccountToken: false,
        containers: [{
          name: "task", image: (if $image != "" then $image else .docker_image end),
          command: ["oz"], args: .base_args, workingDir: "/workspace",
          envFrom: [{secretRef: {name: $name}}],
          resources: (if .instance_shape then {requests: (
            (if .instance_shape.vcpus then {cpu: (.instance_shape.vcpus | tostring)} else {} end) +
            (if .instance_shape.memory_gb then {memory: "\(.instance_shape.memory_gb)Gi"} else {} end))} else {} end),
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: ["ALL"]}},
          volumeMounts: [{name: "workspace", mountPath: "/workspace"}]
        }],
        volumes: [{name: "workspace", emptyDir: {}}]
      }
    }
  }
}' "$dir/run.json" >"$dir/job.json"

uid=$(kubectl --namespace "${OZ_NAMESPACE:-default}" create -f "$dir/job.json" -o 'jsonpath={.metadata.uid}')
# The pod waits for the Secret, which goes when the Job does.
jq --arg name "$name" --arg uid "$uid" '{
  apiVersion: "v1", kind: "Secret", type: "Opaque",
  metadata: {name: $name, ownerReferences: [{apiVersion: "batch/v1", kind: "Job", name: $name, uid: $uid}]},
  stringData: .env
}' "$dir/run.json" >"$dir/secret.json"
kubectl --namespace "${OZ_NAMESPACE:-default}" create -f "$dir/secret.json" -o name
