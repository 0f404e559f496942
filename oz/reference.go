package oz

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// reference is how a prompt names something that is kept on the platform
// (Oz platform, PRM-2).
var reference = regexp.MustCompile(`<(workflow|notebook|rule|prompt):([^\s<>:]{1,64})>`)

const (
	// maxReferences is how many different things the texts of one run may refer
	// to, those in saved prompts included.
	maxReferences = 20
	// maxPromptDepth is how deep saved prompts may refer to each other.
	maxPromptDepth = 4
)

// references puts in what the texts of one run refer to, with the rights of
// one caller.
type references struct {
	client   *Client
	prompts  map[string]string // texts of saved prompts, complete
	attached map[string]bool   // rules
	rules    strings.Builder   // the attached texts
}

// refer puts what the prompts refer to into a run, as it is now: a saved prompt
// stands where its reference was, a rule becomes part of what the agent is told
// beside the prompt. What is missing, or may not be seen, is refused by name.
func (c *Client) refer(ctx context.Context, spec *task.Spec, from Request) error {
	if from.asWritten && from.referred && from.own == "" || !reference.MatchString(spec.Prompt) && !reference.MatchString(spec.Config.BasePrompt) {
		return nil
	}
	r := &references{client: c, prompts: map[string]string{}, attached: map[string]bool{}}
	own, rest := spec.Prompt, ""
	if from.asWritten {
		own, rest = "", spec.Prompt
		if after, ok := strings.CutPrefix(spec.Prompt, from.own); ok {
			own, rest = from.own, after
		}
	}
	text, err := r.complete(ctx, "prompt", own, nil)
	if err != nil {
		return err
	}
	spec.Prompt = text + rest
	base, err := r.complete(ctx, "config.base_prompt", spec.Config.BasePrompt, nil)
	if err != nil {
		return err
	}
	spec.Config.BasePrompt = strings.TrimSpace(base + r.rules.String())
	return task.ValidateText("config.base_prompt", spec.Config.BasePrompt)
}

// complete puts in what text refers to. within are the saved prompts that it is
// part of.
func (r *references) complete(ctx context.Context, field, text string, within []string) (string, error) {
	var out strings.Builder
	done := 0
	for _, at := range reference.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[done:at[0]])
		put, err := r.resolve(ctx, field, text[at[0]:at[1]], text[at[2]:at[3]], text[at[4]:at[5]], within)
		if err != nil {
			return "", err
		}
		out.WriteString(put)
		done = at[1]
		if out.Len() > task.MaxInputBytes {
			break
		}
	}
	if out.Len()+len(text)-done > task.MaxInputBytes {
		return "", task.Invalid(field, "has more than %d bytes with what it refers to", task.MaxInputBytes)
	}
	out.WriteString(text[done:])
	return out.String(), nil
}

// resolve gives what stands in the place of one reference.
func (r *references) resolve(ctx context.Context, field, whole, kind, uid string, within []string) (string, error) {
	if len(r.prompts)+len(r.attached) >= maxReferences && !r.attached[uid] && r.prompts[uid] == "" {
		return "", task.Invalid(field, "refers to more than %d things, in saved prompts included", maxReferences)
	}
	switch kind {
	case "rule":
		return whole, r.attach(ctx, field, whole, uid)
	case "notebook":
		return "", task.Invalid(field, "%s cannot be attached: there are no notebooks here; put its text into a saved prompt and write <prompt:id>", whole)
	}
	return r.prompt(ctx, field, whole, uid, within)
}

// attach adds a rule to what the agent is told, once. The reference stays in
// the prompt, so that the agent knows what is meant there.
func (r *references) attach(ctx context.Context, field, whole, uid string) error {
	if r.attached[uid] {
		return nil
	}
	rule, err := r.client.Rule(ctx, uid)
	if err != nil {
		return missing(field, whole, err)
	}
	r.attached[uid] = true
	fmt.Fprintf(&r.rules, "\n\nAttached as %s, the rule %q:\n\n%s", whole, rule.Name, strings.TrimSpace(rule.Rule))
	return nil
}

// prompt gives a saved prompt, complete.
func (r *references) prompt(ctx context.Context, field, whole, uid string, within []string) (string, error) {
	if text, ok := r.prompts[uid]; ok {
		return text, nil
	}
	for _, outer := range within {
		if outer == uid {
			return "", task.Invalid(field, "%s refers to itself", whole)
		}
	}
	if len(within) >= maxPromptDepth {
		return "", task.Invalid(field, "%s is too deep: saved prompts may refer to each other %d deep", whole, maxPromptDepth)
	}
	p, err := r.client.Prompt(ctx, uid)
	if err != nil {
		return "", missing(field, whole, err)
	}
	text, err := r.complete(ctx, field, p.Prompt, append(within, uid))
	if err != nil {
		return "", err
	}
	r.prompts[uid] = text
	return text, nil
}

// missing names the reference that an error is about.
func missing(field, whole string, err error) error {
	if !errors.Is(err, task.ErrNotFound) {
		return err
	}
	return &task.Error{Code: task.CodeNotFound, Field: field, Err: err,
		Message: fmt.Sprintf("%s refers to nothing that exists and that you may see; leave it out, or write &lt; for its first sign", whole)}
}
