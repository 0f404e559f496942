package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
	"github.com/oz-platform/cloudagents/internal/modelenv"
)

// tally is the repository that the agent works on, as a git bundle; see
// demo/build.sh.
//
//go:embed demo/tally.bundle
var tally []byte

// script is what the scripted model says; see package scripted.
//
//go:embed demo/script.yaml
var script []byte

// makeRemote unpacks the bundle into a bare repository, which plays the
// repository on a git host.
func makeRemote(ctx context.Context, path string) (string, error) {
	if err := os.RemoveAll(path); err != nil { // of an earlier quickstart in the same directory
		return "", err
	}
	bundle := path + ".bundle"
	if err := os.WriteFile(bundle, tally, 0o600); err != nil {
		return "", err
	}
	defer os.Remove(bundle)
	out, err := exec.CommandContext(ctx, "git", "clone", "--quiet", "--bare", bundle, path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("unpack the demonstration repository: %w: %s", err, bytes.TrimSpace(out))
	}
	return path, nil
}

// chooseModel takes the model that the environment offers, or starts the
// scripted one, and says which.
func chooseModel(o options) (models executor.Models, stop func(), err error) {
	models, err = modelenv.Providers(o.env)
	if err != nil {
		return models, nil, err
	}
	if len(models.Providers) > 0 {
		fmt.Fprintf(o.out, "Model: %s by %s\n", models.Default, models.Providers[0].Name)
		return models, func() {}, nil
	}
	s, err := scripted.Load(bytes.NewReader(script))
	if err != nil {
		return models, nil, err
	}
	server, err := scripted.New(s, nil)
	if err != nil {
		return models, nil, err
	}
	at, err := server.Start()
	if err != nil {
		return models, nil, err
	}
	fmt.Fprintln(o.out, strings.Repeat("─", 78)+`
The model is SCRIPTED: ANTHROPIC_API_KEY and OPENAI_API_KEY are not set, so a
script on loopback answers in a model's place, over the real Anthropic protocol.
Everything else is real: server, sandbox, git, tools, tests and push.
`+strings.Repeat("─", 78))
	return executor.Models{Default: scriptedModel, Providers: []executor.ModelProvider{{Name: "script", Wire: "anthropic",
		BaseURL: at.AnthropicURL, Models: []string{scriptedModel}, Scripted: true}}}, func() { _ = at.Close() }, nil
}

// scriptedModel is the name under which the script goes.
const scriptedModel = "scripted-model"
