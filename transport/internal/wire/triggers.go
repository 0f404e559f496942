package wire

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/webhook"
)

// Webhook gives a webhook as the wire has it.
func Webhook(w oz.WebhookItem) api.WebhookItem {
	config := Config(w.Config)
	return api.WebhookItem{Uid: w.UID, Name: w.Name, Enabled: w.Enabled, AuthMode: string(w.Mode), Provider: string(w.Provider),
		Scope: scope(w.Owner), Url: w.URL, Secret: w.Secret, HasSecret: w.HasSecret, Manageable: w.Manageable, Creator: profile(w.Creator),
		CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(), DeliveryIdHeader: w.IDHeader, Filter: slices.Clone(w.Filter),
		Condition: w.Condition, Entity: w.Entity, RatePerMinute: w.PerMinute, Untrusted: w.Untrusted, Prompt: w.Prompt, Skill: w.Skill,
		Config: &config, AgentUid: w.AgentUID, Metadata: maps.Clone(w.Metadata), Mode: string(w.RunMode)}
}

// WebhookOf reads a webhook.
func WebhookOf(w api.WebhookItem) oz.WebhookItem {
	item := oz.WebhookItem{URL: w.Url, Secret: w.Secret, Manageable: w.Manageable, Hook: webhook.Hook{UID: w.Uid, Owner: scopeOf(&w.Scope),
		Creator: principal(w.Creator), CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, HasSecret: w.HasSecret,
		Spec: webhook.Spec{Name: w.Name, Enabled: w.Enabled, Mode: webhook.Mode(w.AuthMode), Provider: webhook.Provider(w.Provider),
			IDHeader: w.DeliveryIdHeader, Filter: slices.Clone(w.Filter), Condition: w.Condition, Entity: w.Entity, PerMinute: w.RatePerMinute,
			Untrusted: w.Untrusted, Prompt: w.Prompt, Skill: w.Skill, AgentUID: w.AgentUid, Metadata: maps.Clone(w.Metadata), RunMode: task.Mode(w.Mode)}}}
	if w.Config != nil {
		item.Config = ConfigOf(*w.Config)
	}
	return item
}

// WebhookInput gives a request for a webhook as the wire has it.
func WebhookInput(in oz.WebhookInput) api.CreateWebhookRequest {
	config := Config(in.Config)
	return api.CreateWebhookRequest{Name: in.Name, Enabled: &in.Enabled, AuthMode: string(in.Mode), Provider: string(in.Provider), Secret: in.Secret,
		Team: clone(in.Team), DeliveryIdHeader: in.IDHeader, Filter: slices.Clone(in.Filter), Condition: in.Condition, Entity: in.Entity,
		RatePerMinute: in.PerMinute, Untrusted: in.Untrusted, Prompt: in.Prompt, Skill: in.Skill, Config: &config, AgentUid: in.AgentUID,
		Metadata: maps.Clone(in.Metadata), Mode: string(in.RunMode)}
}

// WebhookInputOf reads a request for a webhook. It is on unless it says not.
func WebhookInputOf(r api.CreateWebhookRequest) oz.WebhookInput {
	in := oz.WebhookInput{Secret: r.Secret, Team: clone(r.Team), Spec: webhook.Spec{Name: r.Name, Enabled: r.Enabled == nil || *r.Enabled,
		Mode: webhook.Mode(r.AuthMode), Provider: webhook.Provider(r.Provider), IDHeader: r.DeliveryIdHeader, Filter: slices.Clone(r.Filter),
		Condition: r.Condition, Entity: r.Entity, PerMinute: r.RatePerMinute, Untrusted: r.Untrusted, Prompt: r.Prompt, Skill: r.Skill,
		AgentUID: r.AgentUid, Metadata: maps.Clone(r.Metadata), RunMode: task.Mode(r.Mode)}}
	if r.Config != nil {
		in.Config = ConfigOf(*r.Config)
	}
	return in
}

// WebhookChange gives a change of a webhook as the wire has it.
func WebhookChange(ch oz.WebhookChange) api.UpdateWebhookRequest {
	out := api.UpdateWebhookRequest{Name: clone(ch.Name), Enabled: clone(ch.Enabled), DeliveryIdHeader: clone(ch.IDHeader), Condition: clone(ch.Condition),
		Entity: clone(ch.Entity), RatePerMinute: clone(ch.PerMinute), Untrusted: clone(ch.Untrusted), Prompt: clone(ch.Prompt), Skill: clone(ch.Skill),
		AgentUid: clone(ch.AgentUID), Metadata: clone(ch.Metadata), Mode: (*string)(clone(ch.Mode))}
	if ch.Filter != nil {
		if out.Filter = slices.Clone(*ch.Filter); len(out.Filter) == 0 {
			out.Filter = json.RawMessage(`{}`) // absent would keep what there is
		}
	}
	if ch.Config != nil {
		config := Config(*ch.Config)
		out.Config = &config
	}
	return out
}

// WebhookChangeOf reads a change of a webhook.
func WebhookChangeOf(r api.UpdateWebhookRequest) oz.WebhookChange {
	ch := oz.WebhookChange{Name: clone(r.Name), Enabled: clone(r.Enabled), IDHeader: clone(r.DeliveryIdHeader), Condition: clone(r.Condition),
		Entity: clone(r.Entity), PerMinute: clone(r.RatePerMinute), Untrusted: clone(r.Untrusted), Prompt: clone(r.Prompt), Skill: clone(r.Skill),
		AgentUID: clone(r.AgentUid), Metadata: clone(r.Metadata), Mode: (*task.Mode)(clone(r.Mode))}
	if len(r.Filter) > 0 {
		filter := slices.Clone(r.Filter)
		ch.Filter = &filter
	}
	if r.Config != nil {
		config := ConfigOf(*r.Config)
		ch.Config = &config
	}
	return ch
}

// outcomeWaiting is how the wire calls a delivery that is not decided.
const outcomeWaiting = "waiting"

// Delivery gives what arrived as the wire has it.
func Delivery(d task.Delivery) api.DeliveryItem {
	item := api.DeliveryItem{DeliveryId: string(d.ID), Source: d.Source, Event: d.Event, ReceivedAt: d.ReceivedAt.UTC(), SizeBytes: d.Size,
		Outcome: OutcomeName(d.Outcome), Reason: d.Reason, RepeatOf: string(repeatOf(d)), Attempts: d.Attempts}
	for _, id := range d.Runs {
		item.RunIds = append(item.RunIds, string(id))
	}
	if !d.DecidedAt.IsZero() {
		at := d.DecidedAt.UTC()
		item.DecidedAt = &at
	}
	if json.Valid(d.Body) {
		item.Payload = slices.Clone(d.Body)
	}
	return item
}

// DeliveryOf reads what arrived.
func DeliveryOf(item api.DeliveryItem) task.Delivery {
	d := task.Delivery{ID: task.DeliveryID(item.DeliveryId), Source: item.Source, Event: item.Event, ReceivedAt: item.ReceivedAt, Size: item.SizeBytes,
		Outcome: OutcomeOf(item.Outcome), Reason: item.Reason, RepeatOf: task.DeliveryID(item.RepeatOf), Attempts: item.Attempts, Body: slices.Clone(item.Payload)}
	for _, id := range item.RunIds {
		d.Runs = append(d.Runs, task.ID(id))
	}
	if item.DecidedAt != nil {
		d.DecidedAt = *item.DecidedAt
	}
	return d
}

// OutcomeName is what the wire calls an outcome.
func OutcomeName(o task.Outcome) string {
	if o == "" {
		return outcomeWaiting
	}
	return string(o)
}

// OutcomeOf reads what became of a delivery.
func OutcomeOf(s string) task.Outcome {
	if s == outcomeWaiting {
		return ""
	}
	return task.Outcome(s)
}

// Rehearsal gives what a delivery would do as the wire has it.
func Rehearsal(r oz.Rehearsal) api.RehearsalItem {
	item := api.RehearsalItem{Held: r.Held, Reason: r.Reason, Runs: []api.RehearsedRun{}}
	for _, s := range r.Runs {
		run := api.RehearsedRun{Title: s.Title, Prompt: s.Prompt, Skill: s.Skill, Scope: scope(s.Owner), AgentUid: s.AgentUID, Entity: s.Entity,
			Continues: string(s.Continues), Secrets: slices.Clone(s.Secrets), Address: slices.Clone(s.Address), Untrusted: s.Untrusted}
		if s.Continues != "" {
			run.Message = s.Message
		}
		for _, f := range s.Files {
			run.Files = append(run.Files, f.Name)
		}
		item.Runs = append(item.Runs, run)
	}
	return item
}

// repeatOf is the delivery that d is a duplicate of, or that a person sent
// through again as d.
func repeatOf(d task.Delivery) task.DeliveryID {
	if d.RepeatOf != "" {
		return d.RepeatOf
	}
	h, err := trigger.HeaderOf(d)
	if err != nil { // it only cannot be said
		return ""
	}
	return h.RepeatOf
}
