package oz

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/task"
)

// plainVariables are those of a worker's sandboxes that hold no secret. A
// preparation has the worker's variables, and what it does is kept.
var plainVariables = []string{"GIT_TERMINAL_PROMPT", "GH_PROMPT_DISABLED", "WARP_SERVER_ROOT_URL", "TZ", "LANG", "LC_ALL", "PATH",
	"GOPROXY", "GOFLAGS", "PIP_INDEX_URL", "NPM_CONFIG_REGISTRY",
	"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// isPlain reports that a variable holds no secret: it is known, and has no
// address with a password in it.
func isPlain(entry string) bool {
	name, value, _ := strings.Cut(entry, "=")
	return slices.Contains(plainVariables, name) && !strings.Contains(value, "@")
}

// warm names the state that a run may start from; nil if it is to start cold:
// where there is nothing to prepare, or where a secret could be kept.
func (s *supervisor) warm(t task.Task) *executor.Warm {
	if len(s.opts.Prepare) == 0 || len(t.Environment) == 0 || !executor.CapabilitiesOf(s.ex).Warm {
		return nil
	}
	for _, entry := range s.opts.Env {
		if !isPlain(entry) {
			return nil
		}
	}
	var c environment.Config
	if json.Unmarshal(t.Environment, &c) != nil || len(c.Repos)+len(c.SetupCommands) == 0 {
		return nil
	}
	config, err := json.Marshal(environment.Config{Repos: c.Repos, SetupCommands: c.SetupCommands})
	if err != nil {
		return nil
	}
	stdin, err := json.Marshal(executor.Preparation{Environment: config, RepositoryBase: s.opts.RepositoryBase})
	if err != nil {
		return nil
	}
	made, err := json.Marshal(struct {
		Version, Arch, Server string
		Owner                 task.Scope // states of others are none of an owner's business
		Prepare               []string
		Stdin                 []byte
	}{version.String(), runtime.GOARCH, s.opts.ServerURL, t.Owner, s.opts.Prepare, stdin})
	if err != nil {
		return nil
	}
	key := sha256.Sum256(made)
	return &executor.Warm{Key: hex.EncodeToString(key[:]), Prepare: s.opts.Prepare, Stdin: stdin}
}
