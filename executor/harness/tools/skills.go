package tools

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxListed bounds one answer of list_skills, and maxDescription what is said
	// of each skill there, in bytes.
	maxListed, maxDescription = 200, 300
	// maxSkillText bounds a skill's text with its arguments, in bytes.
	maxSkillText = 2 * skill.MaxFileBytes
)

// Skills makes the tools that list and read the skills at hand. A run without
// any has none of them.
func Skills(f *skilldir.Finder) harness.ToolSet {
	return func(s *harness.Session) []harness.Tool {
		if f == nil {
			return nil
		}
		if found, _ := f.All(false); len(found) == 0 {
			return nil
		}
		return []harness.Tool{listSkills(s, f), readSkill(s, f)}
	}
}

func listSkills(s *harness.Session, f *skilldir.Finder) harness.Tool {
	type input struct {
		Query     string `json:"query"`
		Refresh   bool   `json:"refresh"`
		Malformed bool   `json:"include_malformed"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameListSkills, Category: task.CategorySkill, Repeatable: true, ReadOnly: true,
		Description: "List the skills at hand: written instructions for kinds of work, of this project and of its people. Look here before work that somebody may have described already.",
		Schema: `{"type":"object","properties":{"query":{"type":"string","description":"Only those whose name, description or path has this text."},
			"refresh":{"type":"boolean","description":"Look at the files again."},
			"include_malformed":{"type":"boolean","description":"Also those that cannot be read, with the reason."}}}`,
	}, func(_ context.Context, _ harness.ToolCall, in input) (harness.ToolAnswer, error) {
		found, problems := f.All(in.Refresh)
		var out strings.Builder
		listed, more := 0, 0
		for _, k := range found {
			if k.Malformed != "" && !in.Malformed || !mentions(k, in.Query) {
				continue
			}
			if listed == maxListed {
				more++
				continue
			}
			listed++
			out.WriteString(skillLine(s, k))
		}
		if more > 0 {
			fmt.Fprintf(&out, "%d more; ask with a query.\n", more)
		}
		for _, p := range problems {
			out.WriteString(p + "\n")
		}
		if out.Len() == 0 {
			out.WriteString("There are none.")
		}
		return harness.ToolAnswer{Text: out.String(), Output: map[string]any{"skills": listed}}, nil
	})
}

// mentions reports that a skill's name, description or path has the text, in upper or
// lower case.
func mentions(k skilldir.Found, text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	return strings.Contains(strings.ToLower(k.String()+"\n"+k.Description+"\n"+k.Path), text)
}

func skillLine(s *harness.Session, k skilldir.Found) string {
	if k.Malformed != "" {
		return fmt.Sprintf("- %s: cannot be read: %s\n", shownPath(s, k.Dir), k.Malformed)
	}
	return SkillLine(k, maxDescription)
}

// SkillLine is a skill as an agent sees it in a list, its description on one
// line of at most so many bytes.
func SkillLine(k skilldir.Found, most int) string {
	text := strings.Join(strings.Fields(k.Description), " ")
	if len(text) > most {
		text = text[:most]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += "..."
	}
	return fmt.Sprintf("- %s: %s\n", k, text)
}

func readSkill(s *harness.Session, f *skilldir.Finder) harness.Tool {
	type input struct {
		Skill     string `json:"skill"`
		File      string `json:"file"`
		Arguments string `json:"arguments"`
	}
	return harness.DefineTool(harness.Tool{
		Name: NameReadSkill, Category: task.CategorySkill, Repeatable: true, ReadOnly: true,
		Description: "Read a skill before you do the work that it is for, and follow it as far as it serves the task you were given. With file, read a file that lies beside it.",
		Schema: `{"type":"object","properties":{"skill":{"type":"string","description":"As list_skills has it: name or repo:name."},
			"file":{"type":"string","description":"Path below the skill's directory."},
			"arguments":{"type":"string","description":"What the skill is to be applied to."}},"required":["skill"]}`,
	}, func(_ context.Context, _ harness.ToolCall, in input) (harness.ToolAnswer, error) {
		k, err := f.Find(in.Skill)
		if err != nil {
			return harness.ToolAnswer{}, harness.BadInput("%v", err)
		}
		if in.File != "" {
			return readBeside(k, in.File)
		}
		text, err := k.Read()
		if err != nil {
			return harness.ToolAnswer{}, harness.Refuse("skill %q cannot be read: %v", in.Skill, err)
		}
		body := text.Body
		if strings.TrimSpace(in.Arguments) != "" { // without any the placeholders tell what is wanted
			if body, err = skill.Expand(body, in.Arguments, maxSkillText); err != nil {
				return harness.ToolAnswer{}, harness.BadInput("arguments: %v", err)
			}
		}
		return harness.ToolAnswer{Text: fmt.Sprintf("%s\n\n%s", body, beside(s, k)), Output: map[string]any{"skill": k.String()}}, nil
	})
}

// readBeside reads a file of a skill.
func readBeside(k skilldir.Found, name string) (harness.ToolAnswer, error) {
	text, all, err := k.File(name)
	if err != nil {
		return harness.ToolAnswer{}, harness.Refuse("file %q of skill %s: %v", name, k, err)
	}
	if !all {
		text += fmt.Sprintf("\n(only the first %d bytes)", skilldir.MaxSupportBytes)
	}
	return harness.ToolAnswer{Text: text, Output: map[string]any{"skill": k.String(), "file": name}}, nil
}

// beside says where a skill lies, and with what.
func beside(s *harness.Session, k skilldir.Found) string {
	where := fmt.Sprintf("(Paths in this skill start at %s.", shownPath(s, k.Dir))
	list, all, err := k.Files()
	if err != nil || len(list) == 0 {
		return where + ")"
	}
	where += " Beside it: " + strings.Join(list, ", ")
	if !all {
		where += " and more"
	}
	return where + ".)"
}
