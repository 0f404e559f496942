package wire

import (
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Key gives an API key's record; the key itself is not part of it.
func Key(k access.Key) api.APIKey {
	return api.APIKey{Uid: k.UID, Name: k.Name, Type: api.APIKeyType(k.Type), Owner: scope(k.Owner), Agent: k.Agent, Creator: profile(k.Creator),
		Suffix: k.Suffix, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: optionalTime(k.ExpiresAt), LastUsedAt: optionalTime(k.LastUsedAt)}
}

// KeyOf reads an API key's record.
func KeyOf(k api.APIKey) access.Key {
	return access.Key{UID: k.Uid, Name: k.Name, Type: access.KeyType(k.Type), Owner: scopeOf(&k.Owner), Agent: k.Agent, Creator: principal(k.Creator),
		Suffix: k.Suffix, CreatedAt: k.CreatedAt, ExpiresAt: timeOf(k.ExpiresAt), LastUsedAt: timeOf(k.LastUsedAt)}
}

// KeySpec asks for an API key.
func KeySpec(s access.KeySpec) api.CreateAPIKeyRequest {
	return api.CreateAPIKeyRequest{Name: s.Name, Type: string(s.Type), Team: s.Team, Agent: s.Agent, ExpiresAt: optionalTime(s.ExpiresAt)}
}

// KeySpecOf reads what an API key is to be.
func KeySpecOf(s api.CreateAPIKeyRequest) access.KeySpec {
	return access.KeySpec{Name: s.Name, Type: access.KeyType(s.Type), Team: s.Team, Agent: s.Agent, ExpiresAt: timeOf(s.ExpiresAt)}
}

// Secret gives what may be known of a secret.
func Secret(s oz.Secret) api.SecretItem {
	return api.SecretItem{Name: s.Name, Scope: scope(s.Owner), Type: s.Type, Description: s.Description, Version: s.Version,
		CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC()}
}

// SecretOf reads what is known of a secret.
func SecretOf(s api.SecretItem) oz.Secret {
	return oz.Secret{Name: s.Name, Owner: scopeOf(&s.Scope), Type: s.Type, Description: s.Description, Version: s.Version,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt}
}

// Whoami shows a caller to itself.
func Whoami(c access.Caller) api.Whoami {
	w := api.Whoami{Teams: []api.Membership{}, KeyUid: c.Key, RunId: string(c.TaskID), ExecutionId: string(c.Execution)}
	if p := profile(c.Principal); p != nil {
		w.Principal = *p
	}
	for _, m := range c.Teams {
		w.Teams = append(w.Teams, api.Membership{Uid: m.UID, Role: string(m.Role)})
	}
	return w
}

// WhoamiOf reads a caller.
func WhoamiOf(w api.Whoami) access.Caller {
	c := access.Caller{Principal: principal(&w.Principal), Key: w.KeyUid, TaskID: task.ID(w.RunId), Execution: task.ExecutionID(w.ExecutionId)}
	for _, m := range w.Teams {
		c.Teams = append(c.Teams, access.Membership{UID: m.Uid, Role: access.Role(m.Role)})
	}
	return c
}

// Model shows a model (Oz API, ModelInfo).
func Model(m oz.ModelInfo) api.ModelInfo {
	out := api.ModelInfo{Id: m.ID, DisplayName: m.DisplayName, Description: m.Description,
		Provider: api.ModelInfoProvider(m.Provider), VisionSupported: m.VisionSupported, DisableReason: api.ModelInfoDisableReason(m.DisableReason),
		Harnesses: m.Harnesses, ContextWindow: m.ContextWindow, MaxOutputTokens: m.MaxOutput}
	if m.Price != nil {
		out.Price = api.ModelPrice{InputUsd: m.Price.Input, OutputUsd: m.Price.Output, AsOf: m.Price.AsOf, Source: m.Price.Source}
	}
	return out
}

// ModelOf reads a model.
func ModelOf(m api.ModelInfo) oz.ModelInfo {
	out := oz.ModelInfo{ID: m.Id, DisplayName: m.DisplayName, Description: m.Description,
		Provider: string(m.Provider), VisionSupported: m.VisionSupported, DisableReason: string(m.DisableReason),
		Harnesses: m.Harnesses, ContextWindow: m.ContextWindow, MaxOutput: m.MaxOutputTokens}
	if m.Price.AsOf != "" {
		out.Price = &oz.ModelPrice{Input: m.Price.InputUsd, Output: m.Price.OutputUsd, AsOf: m.Price.AsOf, Source: m.Price.Source}
	}
	return out
}
