package wire

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/trigger/integration"
	"github.com/oz-platform/cloudagents/trigger/outbound"
)

// Integration gives an integration as the wire has it.
func Integration(i oz.IntegrationItem) api.IntegrationItem {
	config := Config(i.Config)
	return api.IntegrationItem{Uid: i.UID, Provider: string(i.Provider), Name: i.Name, Enabled: i.Enabled, Scope: scope(i.Owner), Url: i.URL,
		SecretNames: slices.Clone(i.Secrets), Manageable: i.Manageable, Creator: profile(i.Creator), CreatedAt: i.CreatedAt.UTC(), UpdatedAt: i.UpdatedAt.UTC(),
		Prompt: i.Prompt, Config: &config, AgentUid: i.AgentUID, Metadata: maps.Clone(i.Metadata), Mode: string(i.Mode), Trust: string(i.Trust),
		Settings: slices.Clone(i.Settings)}
}

// IntegrationOf reads an integration.
func IntegrationOf(i api.IntegrationItem) oz.IntegrationItem {
	item := oz.IntegrationItem{URL: i.Url, Manageable: i.Manageable, Integration: integration.Integration{UID: i.Uid, Provider: integration.Provider(i.Provider),
		Owner: scopeOf(&i.Scope), Creator: principal(i.Creator), CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt, Secrets: slices.Clone(i.SecretNames),
		Spec: integration.Spec{Name: i.Name, Enabled: i.Enabled, Prompt: i.Prompt, AgentUID: i.AgentUid, Metadata: maps.Clone(i.Metadata),
			Mode: task.Mode(i.Mode), Trust: integration.Trust(i.Trust), Settings: slices.Clone(i.Settings)}}}
	if i.Config != nil {
		item.Config = ConfigOf(*i.Config)
	}
	return item
}

// IntegrationInput gives a request for an integration as the wire has it.
func IntegrationInput(in oz.IntegrationInput) api.CreateIntegrationRequest {
	config := Config(in.Config)
	return api.CreateIntegrationRequest{Provider: string(in.Provider), Name: in.Name, Enabled: &in.Enabled, Secrets: maps.Clone(in.Secrets), Prompt: in.Prompt,
		Config: &config, AgentUid: in.AgentUID, Metadata: maps.Clone(in.Metadata), Mode: string(in.Mode), Trust: string(in.Trust), Settings: slices.Clone(in.Settings)}
}

// IntegrationInputOf reads a request for an integration. It is on unless it says
// not.
func IntegrationInputOf(r api.CreateIntegrationRequest) oz.IntegrationInput {
	in := oz.IntegrationInput{Provider: integration.Provider(r.Provider), Secrets: maps.Clone(r.Secrets), Spec: integration.Spec{Name: r.Name,
		Enabled: r.Enabled == nil || *r.Enabled, Prompt: r.Prompt, AgentUID: r.AgentUid, Metadata: maps.Clone(r.Metadata), Mode: task.Mode(r.Mode),
		Trust: integration.Trust(r.Trust), Settings: slices.Clone(r.Settings)}}
	if r.Config != nil {
		in.Config = ConfigOf(*r.Config)
	}
	return in
}

// IntegrationChange gives a change of an integration as the wire has it.
func IntegrationChange(ch oz.IntegrationChange) api.UpdateIntegrationRequest {
	out := api.UpdateIntegrationRequest{Name: clone(ch.Name), Enabled: clone(ch.Enabled), Secrets: maps.Clone(ch.Secrets), Prompt: clone(ch.Prompt),
		AgentUid: clone(ch.AgentUID), Metadata: clone(ch.Metadata), Mode: (*string)(clone(ch.Mode)), Trust: (*string)(clone(ch.Trust))}
	if ch.Settings != nil {
		if out.Settings = slices.Clone(*ch.Settings); len(out.Settings) == 0 {
			out.Settings = json.RawMessage(`{}`) // absent would keep what there is
		}
	}
	if ch.Config != nil {
		config := Config(*ch.Config)
		out.Config = &config
	}
	return out
}

// IntegrationChangeOf reads a change of an integration.
func IntegrationChangeOf(r api.UpdateIntegrationRequest) oz.IntegrationChange {
	ch := oz.IntegrationChange{Name: clone(r.Name), Enabled: clone(r.Enabled), Secrets: maps.Clone(r.Secrets), Prompt: clone(r.Prompt),
		AgentUID: clone(r.AgentUid), Metadata: clone(r.Metadata), Mode: (*task.Mode)(clone(r.Mode)), Trust: (*integration.Trust)(clone(r.Trust))}
	if len(r.Settings) > 0 {
		settings := slices.Clone(r.Settings)
		ch.Settings = &settings
	}
	if r.Config != nil {
		config := ConfigOf(*r.Config)
		ch.Config = &config
	}
	return ch
}

// Link gives an account elsewhere as the wire has it.
func Link(l integration.Link) api.LinkItem {
	return api.LinkItem{Provider: string(l.Provider), Account: l.Account, Name: l.Name, LinkedAt: l.LinkedAt.UTC()}
}

// LinkOf reads an account elsewhere.
func LinkOf(l api.LinkItem) integration.Link {
	return integration.Link{Provider: integration.Provider(l.Provider), Account: l.Account, Name: l.Name, LinkedAt: l.LinkedAt}
}

// Subscription gives a subscription as the wire has it.
func Subscription(s oz.SubscriptionItem) api.SubscriptionItem {
	return api.SubscriptionItem{Uid: s.UID, Name: s.Name, Url: s.URL, Enabled: s.Enabled, DisabledReason: s.DisabledReason, Events: SignalNames(s.Events),
		Scope: scope(s.Owner), Secret: s.Secret, Manageable: s.Manageable, Creator: profile(s.Creator), CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC()}
}

// SubscriptionOf reads a subscription.
func SubscriptionOf(s api.SubscriptionItem) oz.SubscriptionItem {
	return oz.SubscriptionItem{Secret: s.Secret, Manageable: s.Manageable, Subscription: outbound.Subscription{UID: s.Uid, Owner: scopeOf(&s.Scope),
		DisabledReason: s.DisabledReason, Creator: principal(s.Creator), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
		Spec: outbound.Spec{Name: s.Name, URL: s.Url, Enabled: s.Enabled, Events: SignalTypes(s.Events)}}}
}

// SignalNames and SignalTypes convert events that can be told.
func SignalNames(list []task.SignalType) []string {
	var out []string
	for _, t := range list {
		out = append(out, string(t))
	}
	return out
}

// SignalTypes reads events that can be told.
func SignalTypes(list []string) []task.SignalType {
	var out []task.SignalType
	for _, t := range list {
		out = append(out, task.SignalType(t))
	}
	return out
}

// SubscriptionChangeOf reads a change of a subscription.
func SubscriptionChangeOf(r api.UpdateSubscriptionRequest) oz.SubscriptionChange {
	ch := oz.SubscriptionChange{Name: clone(r.Name), URL: clone(r.Url), Enabled: clone(r.Enabled)}
	if r.Events != nil {
		events := SignalTypes(*r.Events)
		ch.Events = &events
	}
	return ch
}

// SubscriptionChange gives a change of a subscription as the wire has it.
func SubscriptionChange(ch oz.SubscriptionChange) api.UpdateSubscriptionRequest {
	out := api.UpdateSubscriptionRequest{Name: clone(ch.Name), Url: clone(ch.URL), Enabled: clone(ch.Enabled)}
	if ch.Events != nil {
		events := append([]string{}, SignalNames(*ch.Events)...)
		out.Events = &events
	}
	return out
}

// Message gives what is told as the wire has it.
func Message(o task.Outgoing) api.SubscriptionMessageItem {
	item := api.SubscriptionMessageItem{MessageId: string(o.ID), RunId: string(o.TaskID), State: string(o.State), Attempts: o.Attempts, Reason: o.Reason,
		CreatedAt: o.CreatedAt.UTC(), ReadyAt: o.ReadyAt.UTC()}
	if json.Valid(o.Result) {
		item.Result = slices.Clone(o.Result)
	}
	if !o.SettledAt.IsZero() {
		at := o.SettledAt.UTC()
		item.SettledAt = &at
	}
	return item
}

// MessageOf reads what is told.
func MessageOf(m api.SubscriptionMessageItem) task.Outgoing {
	o := task.Outgoing{ID: task.OutgoingID(m.MessageId), TaskID: task.ID(m.RunId), State: task.OutgoingState(m.State), Attempts: m.Attempts, Reason: m.Reason,
		CreatedAt: m.CreatedAt, ReadyAt: m.ReadyAt, Result: slices.Clone(m.Result)}
	if m.SettledAt != nil {
		o.SettledAt = *m.SettledAt
	}
	return o
}
