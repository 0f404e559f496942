package oz

import (
	"context"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// autoModel leaves the choice to the run's gateway.
const autoModel = "auto"

// ModelInfo is one model that runs may name (Oz API, ModelInfo).
type ModelInfo struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	Description string `json:"description,omitempty"`
	// Provider is ANTHROPIC, OPENAI, GOOGLE or UNKNOWN.
	Provider        string `json:"provider"`
	VisionSupported bool   `json:"vision_supported"`
	// Scripted says that a script answers in place of a model.
	Scripted bool `json:"-"`
}

// Models lists the models that are known by name, and the one that a run gets
// which names none. A provider may serve more by a pattern (see
// executor.ModelProvider); runs may name those too.
func (c *Client) Models(context.Context) (models []ModelInfo, defaultID string, err error) {
	if err := access.Allow(c.caller, access.ModelView, access.Object{}); err != nil {
		return nil, "", err
	}
	m := c.p.opts.Models
	models = []ModelInfo{}
	add := func(id string, p executor.ModelProvider) {
		known := slices.ContainsFunc(models, func(m ModelInfo) bool { return m.ID == id })
		if id != "" && id != autoModel && !strings.HasSuffix(id, "*") && !known {
			models = append(models, describe(id, p))
		}
	}
	for _, p := range m.Providers {
		for _, id := range p.Models {
			add(id, p)
		}
	}
	if p, ok := serving(m, m.Default); ok {
		add(m.Default, p)
	}
	return models, m.Default, nil
}

// describe says of a model what its provider and name tell.
func describe(id string, p executor.ModelProvider) ModelInfo {
	info := ModelInfo{ID: id, DisplayName: id, Provider: "UNKNOWN", Scripted: p.Scripted}
	switch {
	case p.Scripted:
		info.Description = "A script that answers in place of a model."
	case strings.HasPrefix(id, "claude"):
		info.Provider, info.VisionSupported = "ANTHROPIC", true
	case strings.HasPrefix(id, "gpt"), strings.HasPrefix(id, "o3"), strings.HasPrefix(id, "o4"):
		info.Provider, info.VisionSupported = "OPENAI", true
	case strings.HasPrefix(id, "gemini"):
		info.Provider, info.VisionSupported = "GOOGLE", true
	}
	return info
}

// serving finds the provider of a model.
func serving(m executor.Models, id string) (executor.ModelProvider, bool) {
	for _, p := range m.Providers {
		for _, pattern := range p.Models {
			if prefix, ok := strings.CutSuffix(pattern, "*"); pattern == id || ok && strings.HasPrefix(id, prefix) {
				return p, true
			}
		}
	}
	return executor.ModelProvider{}, false
}

// checkModel refuses a model that nobody serves.
func (p *Platform) checkModel(field, id string) error {
	m := p.opts.Models
	if id == "" || id == autoModel || id == m.Default || len(m.Providers) == 0 {
		return nil
	}
	if _, ok := serving(m, id); ok {
		return nil
	}
	var known []string
	for _, p := range m.Providers {
		known = append(known, p.Models...)
	}
	return task.Invalid(field, "no model is called %q; use one of %s, or leave it out", id, strings.Join(known, ", "))
}
