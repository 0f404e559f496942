package browser

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

//go:embed testdata/package.json
var axePackage []byte

//go:embed testdata/package-lock.json
var axeLock []byte

// axe is the source of axe-core, as npm has it in the version of the lock file.
var axe = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "oz-axe-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for name, data := range map[string][]byte{"package.json": axePackage, "package-lock.json": axeLock} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci failed, is there a network? %w %s", err, out)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	return string(source), err
})

// Finding is a rule of accessibility that a page breaks.
type Finding struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// String says what was found, and where at the first few places.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s", f.ID, f.Impact, f.Help)
	for i, n := range f.Nodes {
		if i == 4 {
			fmt.Fprintf(&b, "\n    and %d more", len(f.Nodes)-i)
			break
		}
		fmt.Fprintf(&b, "\n    %.300s\n      %s", n.HTML, strings.ReplaceAll(n.FailureSummary, "\n", "\n      "))
	}
	return b.String()
}

// Accessible asks that axe-core finds nothing serious or critical in the page
// (WCAG 2.2, A and AA, and its best practices).
func (tab *Tab) Accessible() {
	tab.t.Helper()
	for _, f := range tab.Findings() {
		if f.Impact == "serious" || f.Impact == "critical" {
			tab.t.Errorf("%s: %s", tab.Path(), f)
		}
	}
}

// Findings are all that axe-core finds.
func (tab *Tab) Findings() []Finding {
	tab.t.Helper()
	source := axeSource(tab.t)
	if !Eval[bool](tab, "!!window.axe") {
		Eval[bool](tab, source+"\n;true")
	}
	// Without preload: axe would fetch the style sheets anew, and wait ten seconds for what the policy forbids.
	return Eval[[]Finding](tab, `axe.run(document, { preload: false, resultTypes: ["violations"] }).then((r) => r.violations.map((v) => ({ ID: v.id, Impact: v.impact, Help: v.help,
		Nodes: v.nodes.map((n) => ({ HTML: n.html, FailureSummary: n.failureSummary ?? "" })) })))`)
}

func axeSource(t testing.TB) string {
	t.Helper()
	source, err := axe()
	if err != nil {
		missing(t, err.Error())
	}
	assert.Assert(t, source != "")
	return source
}
