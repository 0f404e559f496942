package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// ListSkills implements GET /agent.
func (o operations) ListSkills(ctx context.Context, r api.ListSkillsRequestObject) (api.ListSkillsResponseObject, error) {
	p := r.Params
	if p.SortBy != "" && !p.SortBy.Valid() {
		return nil, task.Invalid("sort_by", "%q is neither name nor last_run", string(p.SortBy))
	}
	list, err := callOf(ctx).client.Skills(ctx, oz.SkillQuery{Repo: p.Repo, Refresh: p.Refresh,
		ByLastRun: p.SortBy == api.ListSkillsParamsSortByLastRun, Malformed: p.IncludeMalformedSkills})
	if err != nil {
		return nil, err
	}
	return api.ListSkills200JSONResponse(wire.Skills(list)), nil
}
