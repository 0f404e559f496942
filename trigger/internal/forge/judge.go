package forge

import (
	"fmt"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/integration"
)

// Case is an event whose author was judged.
type Case struct {
	Provider integration.Provider
	// Author is their login.
	Author    string
	Admission integration.Admission
	// Spoken says that somebody speaks to the agent, and so is to be answered.
	Spoken bool
	// Elsewhere says why the integration is not for the place; empty when it is.
	Elsewhere string
}

// Judge says what is to be done in place of making runs; nil to make them.
func (c Case) Judge() (*trigger.Plan, error) {
	refusal := fmt.Sprintf("@%s may start nothing: %s", c.Author, c.Admission.Reason)
	switch a := c.Admission; {
	case a.Refused && c.Spoken && c.Elsewhere == "":
		return nil, &task.Error{Code: task.CodeExternalAuthRequired, Help: &task.Help{Provider: string(c.Provider)}, Message: refusal}
	case a.Refused:
		return &trigger.Plan{Reason: refusal}, nil
	case c.Elsewhere != "" && c.Spoken && a.Principal.IsPerson():
		return nil, task.Errorf(task.CodeNotAuthorized, "%s", c.Elsewhere)
	case c.Elsewhere != "":
		return &trigger.Plan{Reason: c.Elsewhere}, nil
	case a.Held:
		return &trigger.Plan{Held: true, Reason: a.Reason}, nil
	}
	return nil, nil
}
