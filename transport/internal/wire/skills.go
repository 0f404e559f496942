package wire

import (
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Skills gives a list of skills as the wire has it (Oz API, AgentListItem).
func Skills(l oz.SkillList) api.ListSkillsResponse {
	out := api.ListSkillsResponse{Agents: Each(l.Skills, func(s oz.SkillItem) api.AgentListItem {
		return api.AgentListItem{Name: s.Name, Variants: Each(s.Variants, variant)}
	})}
	if len(l.Unreachable) > 0 {
		out.Unreachable = Each(l.Unreachable, func(u oz.UnreachableRepository) api.UnreachableRepository {
			return api.UnreachableRepository{Repository: u.Repository, ErrorCode: string(u.Code), Error: u.Message}
		})
	}
	return out
}

func variant(v oz.SkillVariant) api.AgentListVariant {
	return api.AgentListVariant{Id: v.ID, Description: v.Description, BasePrompt: v.BasePrompt,
		Source:           api.SkillSource{Owner: v.Owner, Name: v.Repo, SkillPath: v.Path},
		Environments:     Each(v.Environments, func(e oz.EnvironmentRef) api.EnvironmentRef { return api.EnvironmentRef{Uid: e.UID, Name: e.Name} }),
		LastRunTimestamp: optionalTime(v.LastRunAt), Error: v.Error, Suggested: v.Suggested}
}

// SkillsOf reads a list of skills.
func SkillsOf(l api.ListSkillsResponse) oz.SkillList {
	return oz.SkillList{
		Skills: Each(l.Agents, func(s api.AgentListItem) oz.SkillItem {
			return oz.SkillItem{Name: s.Name, Variants: Each(s.Variants, variantOf)}
		}),
		Unreachable: Each(l.Unreachable, func(u api.UnreachableRepository) oz.UnreachableRepository {
			return oz.UnreachableRepository{Repository: u.Repository, Code: task.Code(u.ErrorCode), Message: u.Error}
		}),
	}
}

func variantOf(v api.AgentListVariant) oz.SkillVariant {
	return oz.SkillVariant{ID: v.Id, Description: v.Description, BasePrompt: v.BasePrompt,
		Owner: v.Source.Owner, Repo: v.Source.Name, Path: v.Source.SkillPath,
		Environments: Each(v.Environments, func(e api.EnvironmentRef) oz.EnvironmentRef { return oz.EnvironmentRef{UID: e.Uid, Name: e.Name} }),
		LastRunAt:    timeOf(v.LastRunTimestamp), Error: v.Error, Suggested: v.Suggested}
}
