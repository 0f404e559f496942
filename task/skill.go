package task

import "fmt"

// Skill is what a run keeps of the skill that it carries out, as of creation
// (Oz API, RunAgentSkill). Its text is part of Config.BasePrompt.
type Skill struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Path is the skill's file: "owner/repo/" and its path in the repository.
	// Empty for one that came with the platform.
	Path string `json:"path"`
	// BundledID names one that came with the platform.
	BundledID string `json:"bundled_id,omitempty"`
}

// prompt stands for the person's words in a run that has a skill alone: the
// agent needs something to answer.
func (s Skill) prompt() string { return fmt.Sprintf("Carry out the skill %q.", s.Name) }
