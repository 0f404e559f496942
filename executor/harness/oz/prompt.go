package ozagent

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// The fixed parts of the prompt. They are put together by hand: text/template
// calls methods by name, which makes the linker keep every method of every
// type, and binaries two thirds larger.
var (
	//go:embed prompt.md
	promptText string
	//go:embed prompt_plan.md
	promptPlan string
	//go:embed prompt_orchestrate.md
	promptOrchestrate string
	//go:embed prompt_finish.md
	promptFinish string
)

// promptFacts is what the prompt says besides its fixed parts.
type promptFacts struct {
	Root, Dir, Date string
	Repos           []promptRepo
	Mode            task.Mode
	Secrets         bool
	Instructions    string
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
		Mode: a.conv.mode, Instructions: strings.TrimSpace(a.s.Instructions), MaxTurns: a.s.Limits.MaxTurns,
	}
	for _, r := range a.s.Repos {
		p := promptRepo{Name: r.Name, Path: r.Dir, Branch: r.Branch, Remote: r.Remote}
		if p.Branch == "" {
			p.Branch = "detached at " + bounded(r.Base, 12)
		}
		facts.Repos = append(facts.Repos, p)
	}
	return clean(a.s.Redactor.String(facts.String()))
}

// String writes the prompt.
func (f promptFacts) String() string {
	var out strings.Builder
	out.WriteString(promptText)
	out.WriteByte('\n')
	switch f.Mode {
	case task.ModePlan:
		out.WriteString(promptPlan)
	case task.ModeOrchestrate:
		out.WriteString(promptOrchestrate)
	default:
		out.WriteString(promptFinish)
	}
	f.place(&out)
	if f.Instructions != "" {
		fmt.Fprintf(&out, "\n%s\n", f.Instructions)
	}
	return out.String()
}

// place says where the agent is.
func (f promptFacts) place(out *strings.Builder) {
	fmt.Fprintf(out, "\nWhere you are\n- Workspace %s, working directory %s. Relative paths start at the working directory. File tools reach the workspace only.\n", f.Root, f.Dir)
	for _, r := range f.Repos {
		remote := "no remote"
		if r.Remote != "" {
			remote = "remote " + r.Remote
		}
		fmt.Fprintf(out, "- Repository %s in %s, branch %s, %s.\n", r.Name, r.Path, r.Branch, remote)
	}
	if len(f.Repos) == 0 {
		out.WriteString("- No repository was cloned.\n")
	}
	fmt.Fprintf(out, "- Today is %s.", f.Date)
	if f.MaxTurns > 0 {
		fmt.Fprintf(out, " You have %d turns.", f.MaxTurns)
	}
	out.WriteByte('\n')
}
