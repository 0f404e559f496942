package rest

import (
	"context"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

func errNotYet() error {
	return task.Errorf(task.CodeFeatureNotAvailable, "conversations are not part of this build")
}

// GetRunConversation implements GET /agent/runs/{runId}/conversation.
func (o operations) GetRunConversation(context.Context, api.GetRunConversationRequestObject) (api.GetRunConversationResponseObject, error) {
	return nil, errNotYet()
}

// GetConversation implements GET /agent/conversations/{conversationId}.
func (o operations) GetConversation(context.Context, api.GetConversationRequestObject) (api.GetConversationResponseObject, error) {
	return nil, errNotYet()
}

// GetRunTranscript implements GET /agent/runs/{runId}/transcript.
func (o operations) GetRunTranscript(context.Context, api.GetRunTranscriptRequestObject) (api.GetRunTranscriptResponseObject, error) {
	return nil, errNotYet()
}

// DownloadTranscript implements GET /oz/downloads/transcripts/{runId}.
func (o operations) DownloadTranscript(context.Context, api.DownloadTranscriptRequestObject) (api.DownloadTranscriptResponseObject, error) {
	return nil, errNotYet()
}
