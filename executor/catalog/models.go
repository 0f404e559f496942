package catalog

import (
	"slices"
	"strings"
)

// The wires that agents and providers speak (see package gateway).
const (
	WireAnthropic = "anthropic"
	WireOpenAI    = "openai"
	WireGemini    = "gemini"
)

// Wires lists them.
func Wires() []string { return []string{WireAnthropic, WireOpenAI, WireGemini} }

// Harness is an agent that runs may choose.
type Harness struct {
	// Type is its id in a run's configuration.
	Type string
	// Wires are those that it speaks, the best first.
	Wires []string
}

// Harnesses lists the agents, the built-in one first.
func Harnesses() []Harness {
	return []Harness{
		{"oz", []string{WireAnthropic, WireOpenAI}},
		{"claude", []string{WireAnthropic}},
		{"codex", []string{WireOpenAI}},
		{"gemini", []string{WireGemini}},
		{"opencode", Wires()},
	}
}

// HarnessWires are the wires of one agent; all of them for one that is not known.
func HarnessWires(harness string) []string {
	for _, h := range Harnesses() {
		if h.Type == harness {
			return h.Wires
		}
	}
	return Wires()
}

// Vendor makes models and serves them.
type Vendor struct {
	// Name is as the Oz API has it.
	Name string
	// Wire is what its own endpoint speaks, Host where that is.
	Wire, Host string
	// families are how the ids of its models begin.
	families []string
}

func vendors() []Vendor {
	return []Vendor{
		{"ANTHROPIC", WireAnthropic, "api.anthropic.com", []string{"claude-"}},
		{"OPENAI", WireOpenAI, "api.openai.com", []string{"gpt-", "o1", "o3", "o4", "codex-"}},
		{"GOOGLE", WireGemini, "generativelanguage.googleapis.com", []string{"gemini-"}},
	}
}

// VendorOf tells who makes a model, by its id; ok is false for others' models,
// open ones that a vendor has published among them.
func VendorOf(model string) (v Vendor, ok bool) {
	for _, v := range vendors() {
		if slices.ContainsFunc(v.families, func(f string) bool { return strings.HasPrefix(model, f) }) && !Open(model) {
			return v, true
		}
	}
	return Vendor{Name: "UNKNOWN"}, false
}

// VendorAt is the vendor whose own endpoint a host is.
func VendorAt(host string) (v Vendor, ok bool) {
	for _, v := range vendors() {
		if v.Host == host {
			return v, true
		}
	}
	return Vendor{}, false
}

// Auto is the id by which a run leaves the choice of its model to the platform.
const Auto = "auto"

// AutoOpen wants a model whose weights are public. It is never answered with
// another.
const AutoOpen = "auto-open"

// AutoModel is an automatic id (Oz platform, MOD-1).
type AutoModel struct {
	ID string
	// Description is for people.
	Description string
	// Models are what it stands for: the first that is to be had is used, those
	// after it when it is away. One that ends in "*" stands for every id with
	// that beginning that a provider lists by name.
	Models []string
}

// AutoModels lists the automatic ids and what they stand for when the operator
// says nothing else. [Auto] itself begins with the operator's default.
func AutoModels() []AutoModel {
	return []AutoModel{
		{Auto, "The server's default model, or the nearest to it that the agent can use.",
			[]string{"claude-sonnet-4-5", "gpt-5.1", "gemini-2.5-pro"}},
		{"auto-efficient", "A small and cheap model.",
			[]string{"claude-haiku-4-5", "gpt-5-mini", "gemini-2.5-flash"}},
		{"auto-genius", "The strongest model, at its price.",
			[]string{"claude-opus-4-5", "gpt-5.2", "gemini-2.5-pro"}},
		{AutoOpen, "A model with public weights.", openFamilies()},
	}
}

// AutoModelOf finds an automatic id.
func AutoModelOf(id string) (m AutoModel, ok bool) {
	for _, m := range AutoModels() {
		if m.ID == id {
			return m, true
		}
	}
	return AutoModel{}, false
}

// openFamilies are how the ids of models with public weights begin, the better
// coders first.
func openFamilies() []string {
	return []string{"qwen*", "deepseek*", "glm*", "kimi*", "minimax*", "gpt-oss*", "devstral*", "codestral*", "mistral*", "llama*", "gemma*"}
}

// Open reports whether a model's weights are public, by its id.
func Open(model string) bool {
	return slices.ContainsFunc(openFamilies(), func(f string) bool { return Matches(f, model) })
}

// Matches reports whether pattern, an id or the beginning of one with a "*",
// stands for a model. A pattern of a chain also matches what a gateway of many
// vendors calls "maker/id", and whatever case it uses.
func Matches(pattern, model string) bool {
	prefix, family := strings.CutSuffix(pattern, "*")
	if !family {
		return pattern == model
	}
	name := model[strings.LastIndexByte(model, '/')+1:]
	return strings.HasPrefix(strings.ToLower(name), prefix) || strings.HasPrefix(model, prefix)
}
