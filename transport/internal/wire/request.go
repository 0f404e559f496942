package wire

import (
	"maps"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// Request gives a request as the wire has it (Oz API, RunAgentRequest).
func Request(r oz.Request) api.RunAgentRequest {
	out := api.RunAgentRequest{
		Prompt: r.Prompt, Skill: r.Skill, Title: r.Title, Config: Config(r.Config), Team: clone(r.Team),
		AgentIdentityUid: r.AgentIdentityUID, ConversationId: r.ConversationID, ParentRunId: string(r.ParentRunID),
		Interactive: r.Interactive, Metadata: maps.Clone(r.Metadata), Mode: api.RunMode(r.Mode), OnBehalfOf: r.OnBehalfOf,
	}
	for _, a := range r.Attachments {
		out.Attachments = append(out.Attachments, api.AttachmentInput{FileName: a.FileName, MimeType: a.MIMEType, Data: a.Data})
	}
	return out
}

// RequestOf reads a request.
func RequestOf(r api.RunAgentRequest) oz.Request {
	out := oz.Request{
		Prompt: r.Prompt, Skill: r.Skill, Title: r.Title, Config: ConfigOf(r.Config), Team: clone(r.Team),
		AgentIdentityUID: r.AgentIdentityUid, ConversationID: r.ConversationId, ParentRunID: task.ID(r.ParentRunId),
		Interactive: r.Interactive, Metadata: maps.Clone(r.Metadata), Mode: task.Mode(r.Mode), OnBehalfOf: r.OnBehalfOf,
	}
	for _, a := range r.Attachments {
		out.Attachments = append(out.Attachments, oz.AttachmentInput{FileName: a.FileName, MIMEType: a.MimeType, Data: a.Data})
	}
	return out
}
