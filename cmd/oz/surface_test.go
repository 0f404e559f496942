package main

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// surface is what scripts for the Oz command line rely on: its commands with
// their flags, hidden ones too (Oz command line, 1 to 12), as far as this
// server has what they are for.
const surface = `
oz: --api-key --output-format --debug --help --server-root-url --ws-server-url --session-sharing-server-url
oz login:
oz logout:
oz whoami:
oz completions:
oz dump-debug-info:
oz agent run: -p --prompt --saved-prompt --skill -n --name -C --cwd --share --profile --model --mcp -e --environment -f --file --conversation --strict-mcp-startup --mcp-startup-timeout --no-snapshot --snapshot-upload-timeout --snapshot-script-timeout --harness --computer-use --no-computer-use --task-id --sandboxed --idle-on-complete --idle-on-fail --skip-initial-turn --configure-git-credentials-with-github --repository-head-override-json --remove-repository-origins --bedrock-inference-role --bedrock-role-region --mcp-server --gui
oz agent run-cloud: -p --prompt --saved-prompt --skill -n --name --model --mcp -f --file -e --environment --no-environment --open --host --attach --computer-use --no-computer-use --title --parent-run-id --runner --conversation --team --personal --agent --harness --claude-auth-secret --codex-auth-secret --no-snapshot
oz agent list: --sort-by --sort-order --jq
oz agent skills: -r --repo
oz agent get: --jq
oz agent create: -n --name --description --prompt --secret --skill --base-model -e --environment --jq
oz agent update: -n --name --description --remove-description --add-secret --remove-secret --remove-all-secrets --add-skill --remove-skill --remove-all-skills --base-model --remove-base-model -e --environment --remove-environment --prompt --remove-prompt --jq
oz agent delete:
oz agent profile list:
oz run list: -L --limit --state --source --execution-location --creator --environment --skill --schedule --ancestor-run --name --model --artifact-type --created-after --created-before --updated-after -q --query --sort-by --sort-order --cursor --jq
oz run get: --conversation --jq
oz run conversation get: --jq
oz run message send: --to --subject --body --sender-run-id
oz run message list: --unread --since -L --limit
oz run message watch: --since-sequence
oz run message read:
oz run message mark-delivered:
oz run cancel:
oz environment list: --jq
oz environment get: --jq
oz environment create: -n --name --description -d --docker-image -r --repo -c --setup-command --team --personal
oz environment update: -n --name --description --remove-description -d --docker-image -r --repo -c --setup-command --remove-repo --remove-setup-command --force
oz environment delete: --force
oz environment image list:
oz schedule: --name --cron -p --prompt --skill -e --environment --no-environment --model --mcp --host -f --file --team --personal
oz schedule create: --name --cron -p --prompt --skill -e --environment --no-environment --model --mcp --host -f --file --team --personal
oz schedule list:
oz schedule get:
oz schedule update: --name --cron -p --prompt -e --environment --remove-environment --skill --remove-skill --mcp --remove-mcp --model --host -f --file
oz schedule pause:
oz schedule unpause:
oz schedule delete:
oz secret create: --team --personal -f --value-file -d --description -t --type
oz secret create claude api-key: -f --value-file -d --description --team --personal
oz secret create claude bedrock-api-key: --bedrock-api-key --region
oz secret create claude bedrock-access-key: --access-key-id --secret-access-key --session-token --region
oz secret create codex api-key: -f --value-file --base-url -d --description --team --personal
oz secret update: --value -f --value-file -d --description --team --personal
oz secret delete: --team --personal --force
oz secret list:
oz mcp list:
oz model list:
oz artifact get:
oz artifact download: -o --out
oz artifact upload: --run-id --conversation-id --description
oz api-key list: --sort-by --sort-order --jq
oz api-key create: --expires-in --expires-at --no-expiration --agent --jq
oz api-key expire: --force --jq
oz runner list: --sort-by --jq
oz runner create: -n --name -d --description -c --setup-command --os --arch --docker-image --macos-version --vcpus --memory-gb --team --personal
oz runner update: -n --name -d --description -c --setup-command --os --arch --docker-image --macos-version --vcpus --memory-gb
oz runner delete: --force
oz memory-store list:
oz memory-store get:
oz memory-store update: -d --description
oz memory-store list-store-agents:
oz memory list:
oz memory create: -c --content -r --reason --version
oz memory update: -s --store -c --content -r --reason --version
oz memory delete: -s --store
oz memory versions: -s --store
`

func TestSurface(t *testing.T) {
	for line := range strings.Lines(strings.TrimSpace(surface)) {
		path, flags, _ := strings.Cut(line, ":")
		cmd, rest, err := tree().Find(strings.Fields(path)[1:])
		assert.NilError(t, err, path)
		assert.Equal(t, len(rest), 0, path)
		assert.Equal(t, cmd.CommandPath(), path)
		cmd.InitDefaultHelpFlag()
		for _, flag := range strings.Fields(flags) {
			name := strings.TrimLeft(flag, "-")
			found := cmd.Flag(name)
			if len(name) == 1 {
				found = cmd.Flags().ShorthandLookup(name)
			}
			assert.Check(t, found != nil, "%s has no %s", path, flag)
		}
	}
}

// TestAliases are the other names of commands.
func TestAliases(t *testing.T) {
	for alias, path := range map[string]string{
		"task list": "oz run list", "e list": "oz environment list", "agent r": "oz agent run", "agent ra": "oz agent run-cloud",
		"agent run-ambient": "oz agent run-cloud", "schedule resume": "oz schedule unpause", "api-key delete": "oz api-key expire",
		"run message delivered": "oz run message mark-delivered", "memory-stores get-store": "oz memory-store get",
		"memory-store store-agents": "oz memory-store list-store-agents", "memory add": "oz memory create", "memory remove": "oz memory delete",
	} {
		cmd, _, err := tree().Find(strings.Fields(alias))
		assert.NilError(t, err, alias)
		assert.Equal(t, cmd.CommandPath(), path)
	}
}
