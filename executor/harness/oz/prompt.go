package ozagent

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/oz-platform/cloudagents/task"
)

//go:embed prompt.md
var promptText string

// maxRulesBytes bounds one project rules file in the prompt.
const maxRulesBytes = 32 << 10

// ruleFiles are the names of project rules; of two in one directory the first
// wins (Oz platform, project rules).
var ruleFiles = [...]string{"WARP.md", "AGENTS.md"}

// rules is a project rules file.
type rules struct{ Path, Text string }

// promptFacts is what the template is filled with.
type promptFacts struct {
	Root, Dir, Date string
	Repos           []promptRepo
	Plan, Secrets   bool
	Base            string
	Rules           []rules
	MaxTurns        int
}

type promptRepo struct{ Name, Path, Branch, Remote string }

// systemPrompt is made once per Run, so that the provider's cache holds.
func (a *agent) systemPrompt() string {
	if a.prompt == "" || a.promptMode != a.conv.mode {
		a.prompt, a.promptMode = a.buildPrompt(), a.conv.mode
	}
	return a.prompt
}

func (a *agent) buildPrompt() string {
	facts := promptFacts{
		Root: a.files.path, Dir: a.files.dir, Date: a.s.Clock.Now().UTC().Format("2006-01-02"),
		Plan: a.conv.mode == task.ModePlan, Base: strings.TrimSpace(a.s.Task.Config.BasePrompt),
		Rules: a.findRules(), MaxTurns: a.s.Limits.MaxTurns,
	}
	for _, r := range a.s.Repos {
		p := promptRepo{Name: r.Name, Path: r.Dir, Branch: r.Branch, Remote: r.Remote}
		if p.Branch == "" {
			p.Branch = "detached at " + bounded(r.Base, 12)
		}
		facts.Repos = append(facts.Repos, p)
	}
	var out strings.Builder
	if err := template.Must(template.New("prompt").Parse(promptText)).Execute(&out, facts); err != nil {
		return fmt.Sprintf("You are a coding agent. (%v)", err) // a template of ours over plain fields does not fail
	}
	return clean(a.s.Redactor.String(out.String()))
}

// findRules reads the rules at the top of each repository and in the working
// directory. A file that cannot be read is as good as none.
func (a *agent) findRules() []rules {
	dirs := []string{a.files.dir}
	for _, r := range a.s.Repos {
		if r.Dir != a.files.dir {
			dirs = append([]string{r.Dir}, dirs...)
		}
	}
	var out []rules
	for _, dir := range dirs {
		for _, name := range ruleFiles {
			text, err := a.files.readSmall(dir+"/"+name, maxRulesBytes)
			if err == nil && strings.TrimSpace(text) != "" {
				out = append(out, rules{Path: a.files.show(dir + "/" + name), Text: strings.TrimSpace(text)})
				break
			}
		}
	}
	return out
}
