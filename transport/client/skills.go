package client

import (
	"context"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// Skills lists the skills that the caller may run. With q.Repo it fails when
// that repository cannot be looked into; without, the list says which could
// not.
func (c *Client) Skills(ctx context.Context, q oz.SkillQuery) (oz.SkillList, error) {
	params := api.ListSkillsParams{Repo: q.Repo, Refresh: q.Refresh, IncludeMalformedSkills: q.Malformed}
	if q.ByLastRun {
		params.SortBy = api.ListSkillsParamsSortByLastRun
	}
	list, err := decode[api.ListSkillsResponse](c.raw.ListSkills(ctx, &params))
	if err != nil {
		return oz.SkillList{}, err
	}
	return wire.SkillsOf(list), nil
}
