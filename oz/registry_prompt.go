package oz

import (
	"context"
	"strings"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// maxSavedPrompt bounds a saved prompt, in bytes: it is one record of a store.
const maxSavedPrompt = 256 << 10

// SavedPrompt is a prompt that people use again.
type SavedPrompt struct {
	Registered
	// Prompt is the text, at most 256 KiB.
	Prompt string `json:"prompt"`
}

// PromptInput asks for a saved prompt.
type PromptInput struct {
	Name, Description, Prompt string
	// Team says whose it is, as in Request.
	Team *bool
}

// PromptChange changes what is not nil.
type PromptChange struct {
	Name, Description, Prompt *string
	// Revision fails the change with task.ErrConflict when it is not the
	// stored one; 0 is any.
	Revision int64
}

func prompts() shelf[SavedPrompt] {
	return shelf[SavedPrompt]{kind: "prompt", what: "saved prompt",
		create: access.PromptCreate, view: access.PromptView, manage: access.PromptManage,
		head: func(p *SavedPrompt) *Registered { return &p.Registered },
		check: func(p SavedPrompt) error {
			if strings.TrimSpace(p.Prompt) == "" {
				return task.Invalid("prompt", "is empty")
			}
			if len(p.Prompt) > maxSavedPrompt {
				return task.Invalid("prompt", "has %d bytes, at most %d are allowed", len(p.Prompt), maxSavedPrompt)
			}
			return task.ValidateText("prompt", p.Prompt)
		}}
}

// CreatePrompt saves a prompt. It fails with task.CodeInvalidRequest, or with
// task.ErrConflict when the owner has one of that name.
func (c *Client) CreatePrompt(ctx context.Context, in PromptInput) (SavedPrompt, error) {
	return prompts().add(ctx, c, SavedPrompt{Registered: Registered{Name: in.Name, Description: in.Description}, Prompt: in.Prompt}, in.Team)
}

// Prompt returns one saved prompt.
func (c *Client) Prompt(ctx context.Context, uid string) (SavedPrompt, error) {
	return prompts().get(ctx, c, uid, access.PromptView)
}

// Prompts lists the saved prompts that the caller may see, by name.
func (c *Client) Prompts(ctx context.Context) ([]SavedPrompt, error) { return prompts().list(ctx, c) }

// UpdatePrompt changes a saved prompt.
func (c *Client) UpdatePrompt(ctx context.Context, uid string, change PromptChange) (SavedPrompt, error) {
	return prompts().update(ctx, c, uid, change.Revision, func(p *SavedPrompt) {
		set(&p.Name, change.Name)
		set(&p.Description, change.Description)
		set(&p.Prompt, change.Prompt)
	})
}

// DeletePrompt removes a saved prompt.
func (c *Client) DeletePrompt(ctx context.Context, uid string) error {
	return prompts().remove(ctx, c, uid)
}

// set takes over a value that is given.
func set[T any](dst, given *T) {
	if given != nil {
		*dst = *given
	}
}
