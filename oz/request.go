package oz

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/environment/mcp"
	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of a Request (Oz API, RunAgentRequest, unless said otherwise).
const (
	maxMetadata        = 20 // keys
	maxMetadataKey     = 64 // bytes
	maxMetadataValue   = 256
	maxAttachments     = 5
	maxFileName        = 255 // bytes, as file systems have it
	maxTitle           = 300 // bytes; ours: titles stand on one line of a list
	maxMadeTitle       = 80  // characters of a title made from the prompt
	maxIdempotencyKey  = 255 // bytes
	maxName            = 200 // bytes of config.name and other short labels
	maxConfig          = 2 * task.MaxInputBytes
	maxSecretNames     = 200
	maxMCPServers      = 50
	minIdle, maxIdle   = 1, 60 // minutes
	defaultRunTitle    = "Untitled run"
	harnessBuiltIn     = "oz"
	harnessClaude      = "claude"
	harnessCodex       = "codex"
	harnessGemini      = "gemini"
	harnessOpenCode    = "opencode"
	attachmentTypeList = "image/jpeg, image/png, image/gif, image/webp"
)

// check judges what a request says by itself, without looking anything up.
func (r Request) check(maxAttachmentBytes int64) error {
	for _, check := range []func() error{
		r.checkText, r.checkOrigin, r.checkSkills, r.checkMetadata,
		func() error { return checkMode(r.Mode) },
		func() error { return r.checkAttachments(maxAttachmentBytes) },
		func() error { return checkConfig(r.Config) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (r Request) checkText() error {
	if err := task.ValidateText("prompt", r.Prompt); err != nil {
		return err
	}
	if r.hasNoTask() {
		return task.Invalid("prompt", "say what to do: a run needs a prompt, a skill or a conversation_id")
	}
	if err := checkLine("title", r.Title, maxTitle); err != nil {
		return err
	}
	if len(r.IdempotencyKey) > maxIdempotencyKey {
		return task.Invalid("Idempotency-Key", "has %d bytes, at most %d are allowed", len(r.IdempotencyKey), maxIdempotencyKey)
	}
	return checkLine("Idempotency-Key", r.IdempotencyKey, maxIdempotencyKey)
}

// hasNoTask reports that nothing says what the agent is to do.
func (r Request) hasNoTask() bool {
	return strings.TrimSpace(r.Prompt) == "" && r.Skill == "" && r.Config.SkillSpec == "" && len(r.Config.Skills) == 0 &&
		r.ConversationID == ""
}

// checkOrigin judges who and what the run is made for.
func (r Request) checkOrigin() error {
	switch {
	case r.Source != "" && !r.Source.Known():
		return task.Invalid("source", "%q is no source of a run", string(r.Source))
	case r.AgentIdentityUID != "" && r.Team != nil && !*r.Team:
		return task.Invalid("agent_identity_uid", "an identity carries out team runs only; leave team out or set it to true")
	}
	return checkLine("on_behalf_of", r.OnBehalfOf, maxName)
}

func (r Request) checkMetadata() error {
	if len(r.Metadata) > maxMetadata {
		return task.Invalid("metadata", "has %d keys, at most %d are allowed", len(r.Metadata), maxMetadata)
	}
	for k, v := range r.Metadata {
		if !metadataKey(k) {
			return task.Invalid("metadata", "key %q must have 1 to %d bytes of [a-zA-Z0-9._-]", k, maxMetadataKey)
		}
		if len(v) > maxMetadataValue || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return task.Invalid("metadata", "the value of %q must be valid UTF-8 of at most %d bytes without NUL", k, maxMetadataValue)
		}
	}
	return nil
}

func metadataKey(k string) bool {
	ok := k != "" && len(k) <= maxMetadataKey
	for _, c := range []byte(k) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	return ok
}

func (r Request) checkAttachments(maxBytes int64) error {
	if len(r.Attachments) > maxAttachments {
		return task.Invalid("attachments", "at most %d are allowed, this request has %d", maxAttachments, len(r.Attachments))
	}
	for i, a := range r.Attachments {
		field := fmt.Sprintf("attachments[%d]", i)
		if err := a.check(field, maxBytes); err != nil {
			return err
		}
	}
	return nil
}

func (a AttachmentInput) check(field string, maxBytes int64) error {
	if a.FileName == "" || a.FileName == "." || a.FileName == ".." || strings.ContainsAny(a.FileName, "/\\") {
		return task.Invalid(field+".file_name", "must be the plain name of a file, without a directory")
	}
	if err := checkLine(field+".file_name", a.FileName, maxFileName); err != nil {
		return err
	}
	switch a.MIMEType {
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return task.Invalid(field+".mime_type", "%q is none of %s; put other material into the repository", a.MIMEType, attachmentTypeList)
	}
	if len(a.Data) == 0 {
		return task.Invalid(field+".data", "is empty")
	}
	if int64(len(a.Data)) > maxBytes {
		return task.Invalid(field+".data", "has %d bytes, at most %d are allowed", len(a.Data), maxBytes)
	}
	if found := http.DetectContentType(a.Data); found != a.MIMEType {
		return task.Invalid(field+".data", "is not a file of type %s: it looks like %s", a.MIMEType, found)
	}
	return nil
}

func checkMode(m task.Mode) error {
	switch m {
	case "", task.ModeNormal, task.ModePlan, task.ModeOrchestrate:
		return nil
	}
	return task.Invalid("mode", "%q is none of normal, plan, orchestrate", string(m))
}

// checkConfig judges the configuration of a request.
func checkConfig(c task.Config) error {
	if data, err := json.Marshal(c); err != nil {
		return task.Invalid("config", "is not valid: %w", err)
	} else if len(data) > maxConfig {
		return task.Invalid("config", "has %d bytes, at most %d are allowed", len(data), maxConfig)
	}
	for _, f := range []struct{ name, value string }{
		{"name", c.Name}, {"model_id", c.ModelID}, {"environment_id", c.EnvironmentID},
		{"computer_use_model_id", c.ComputerUseModelID}, {"runner_id", c.RunnerID}, {"profile_id", c.ProfileID},
	} {
		if err := checkLine("config."+f.name, f.value, maxName); err != nil {
			return err
		}
	}
	if err := task.ValidateText("config.base_prompt", c.BasePrompt); err != nil {
		return err
	}
	if err := checkWorkerHost("config.worker_host", c.WorkerHost); err != nil {
		return err
	}
	if err := task.ValidateLabels("config.worker_labels", c.WorkerLabels); err != nil {
		return err
	}
	for _, check := range []func(task.Config) error{checkSettings, checkHarness, checkAuthSecrets, checkMCPServers, checkSecretNames, checkLimits} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func checkSettings(c task.Config) error {
	if m := c.IdleTimeoutMinutes; m != nil && (*m < minIdle || *m > maxIdle) {
		return task.Invalid("config.idle_timeout_minutes", "is %d, must be %d to %d", *m, minIdle, maxIdle)
	}
	switch c.CredentialStrategy {
	case "", "EXECUTOR", "CREATOR":
	default:
		return task.Invalid("config.credential_strategy", "%q is neither EXECUTOR nor CREATOR", c.CredentialStrategy)
	}
	_, err := parseMemoryRefs("config.memory_stores", c.MemoryStores)
	return err
}

func checkHarness(c task.Config) error {
	switch t := c.HarnessType(); t {
	case harnessBuiltIn:
		if c.Harness != nil && c.Harness.ModelID != "" {
			return task.Invalid("config.harness.model_id", "is for other agents than the built-in one; name its model in config.model_id")
		}
		return nil
	case harnessClaude, harnessCodex, harnessGemini, harnessOpenCode:
		return cmp.Or(checkLine("config.harness.model_id", c.Harness.ModelID, maxName), checkLine("config.harness.reasoning_level", c.Harness.ReasoningLevel, maxName))
	default:
		return task.Invalid("config.harness.type", `%q is no agent that is known; use "oz", "claude", "codex", "gemini" or "opencode", or leave it out`, t)
	}
}

func checkMCPServers(c task.Config) error {
	if len(c.MCPServers) > maxMCPServers {
		return task.Invalid("config.mcp_servers", "at most %d are allowed", maxMCPServers)
	}
	for name, raw := range c.MCPServers {
		if name == "" {
			return task.Invalid("config.mcp_servers", "every server needs a name")
		}
		if err := checkLine("config.mcp_servers", name, maxName); err != nil {
			return err
		}
		if _, err := mcp.Parse(mcpField(name), raw); err != nil {
			return err
		}
	}
	return nil
}

func checkSecretNames(c task.Config) error {
	if c.Secrets == nil {
		return nil
	}
	if len(*c.Secrets) > maxSecretNames {
		return task.Invalid("config.secrets", "at most %d names are allowed", maxSecretNames)
	}
	for i, name := range *c.Secrets {
		if err := secrets.CheckName(name); err != nil {
			return task.Invalid(fmt.Sprintf("config.secrets[%d]", i), "%w", err)
		}
	}
	return nil
}

func checkLimits(c task.Config) error {
	if l := c.Limits; l != nil && (l.MaxTurns < 0 || l.MaxTokens < 0 || l.MaxMinutes < 0 || !(l.MaxCostUSD >= 0)) {
		return task.Invalid("config.limits", "may not be negative; 0 takes the server's default")
	}
	return nil
}

// checkLine bounds a text that is shown on one line.
func checkLine(field, s string, maxBytes int) error {
	switch {
	case len(s) > maxBytes:
		return task.Invalid(field, "has %d bytes, at most %d are allowed", len(s), maxBytes)
	case !utf8.ValidString(s):
		return task.Invalid(field, "must be valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return task.Invalid(field, "must be one line without control characters")
	}
	return nil
}

// notBuilt refuses what this server does not have, rather than ignore it.
func notBuilt(field, what, advice string) error {
	e := task.Errorf(task.CodeFeatureNotAvailable, "this server does not have %s yet: %s", what, advice)
	e.Field = field
	return e
}

// title makes a title from the prompt: its first line, cut at a word.
func title(prompt string) string {
	line := ""
	for l := range strings.Lines(prompt) {
		if line = strings.Join(strings.FieldsFunc(l, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " "); line != "" {
			break
		}
	}
	if line == "" {
		return defaultRunTitle
	}
	runes := []rune(line)
	if len(runes) <= maxMadeTitle {
		return line
	}
	cut := string(runes[:maxMadeTitle-1]) // room for the dots
	if i := strings.LastIndexByte(cut, ' '); i > len(cut)/2 {
		cut = cut[:i]
	}
	return strings.TrimRight(cut, " ,;:.-") + "…"
}
