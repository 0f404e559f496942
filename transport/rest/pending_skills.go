package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/transport/api"
)

// ListSkills is not served yet.
func (o operations) ListSkills(context.Context, api.ListSkillsRequestObject) (api.ListSkillsResponseObject, error) {
	return nil, errNotServed()
}
