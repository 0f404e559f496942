package rest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

// GetRunConversation implements GET /agent/runs/{runId}/conversation.
func (o operations) GetRunConversation(ctx context.Context, r api.GetRunConversationRequestObject) (api.GetRunConversationResponseObject, error) {
	conversation, err := callOf(ctx).client.Conversation(ctx, task.ID(r.RunId))
	return conversationAnswer{conversation}, err
}

// GetConversation implements GET /agent/conversations/{conversationId}.
func (o operations) GetConversation(ctx context.Context, r api.GetConversationRequestObject) (api.GetConversationResponseObject, error) {
	conversation, err := callOf(ctx).client.Conversation(ctx, task.ID(r.ConversationId))
	return conversationAnswer{conversation}, err
}

// conversationAnswer writes the conversation itself: the generated types have
// none of its fields.
type conversationAnswer struct{ task.Conversation }

// VisitGetRunConversationResponse implements api.GetRunConversationResponseObject.
func (a conversationAnswer) VisitGetRunConversationResponse(w http.ResponseWriter) error {
	body, err := json.Marshal(a.Conversation)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// VisitGetConversationResponse implements api.GetConversationResponseObject.
func (a conversationAnswer) VisitGetConversationResponse(w http.ResponseWriter) error {
	return a.VisitGetRunConversationResponse(w)
}

// GetRunTranscript implements GET /agent/runs/{runId}/transcript: a link that
// works without the key, since clients drop it when they are redirected.
func (o operations) GetRunTranscript(ctx context.Context, r api.GetRunTranscriptRequestObject) (api.GetRunTranscriptResponseObject, error) {
	c := callOf(ctx)
	format, err := transcriptFormat(r.Params.Format)
	if err != nil {
		return nil, err
	}
	if err := c.client.CheckTranscript(ctx, task.ID(r.RunId)); err != nil {
		return nil, err
	}
	target := o.transcriptLink(r.RunId, format)
	return api.GetRunTranscript302Response{Headers: api.GetRunTranscript302ResponseHeaders{Location: o.absolute(c.request, target)}}, nil
}

// DownloadTranscript implements GET /oz/downloads/transcripts/{runId}: the
// signature stands for the access that its maker had.
func (o operations) DownloadTranscript(ctx context.Context, r api.DownloadTranscriptRequestObject) (api.DownloadTranscriptResponseObject, error) {
	format, err := transcriptFormat(r.Params.Format)
	if err != nil {
		return nil, err
	}
	if err := o.links.check(r.Params.Expires, r.Params.Signature, linkTranscript, r.RunId, string(format)); err != nil {
		return nil, err
	}
	client := o.platform.As(access.System())
	if err := client.CheckTranscript(ctx, task.ID(r.RunId)); err != nil {
		return nil, err
	}
	return transcript{format: format, write: func(w io.Writer) error {
		return client.Transcript(ctx, task.ID(r.RunId), w, format)
	}}, nil
}

// transcriptLink gives the signed path of a run's transcript.
func (h *Handler) transcriptLink(run string, format oz.TranscriptFormat) string {
	target, _ := h.link("/oz/downloads/transcripts/"+url.PathEscape(run), url.Values{"format": {string(format)}},
		linkTranscript, run, string(format))
	return target
}

// transcriptFormat reads the parameter; empty is the default.
func transcriptFormat(f api.TranscriptFormat) (oz.TranscriptFormat, error) {
	switch format := oz.TranscriptFormat(f); format {
	case "":
		return oz.TranscriptJSONLines, nil
	case oz.TranscriptJSONLines, oz.TranscriptMarkdown:
		return format, nil
	default:
		return "", task.Invalid("format", "%q is neither jsonl nor markdown", string(f))
	}
}

// transcript writes a transcript as it is read. What agents wrote is never
// rendered as part of this origin.
type transcript struct {
	format oz.TranscriptFormat
	write  func(io.Writer) error
}

// VisitDownloadTranscriptResponse implements api.DownloadTranscriptResponseObject.
func (t transcript) VisitDownloadTranscriptResponse(w http.ResponseWriter) error {
	head := w.Header()
	head.Set("Content-Type", "application/x-ndjson; charset=utf-8") // clients take application/jsonl for JSON, by its beginning
	if t.format == oz.TranscriptMarkdown {
		head.Set("Content-Type", "text/markdown; charset=utf-8")
	}
	head.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	return t.write(w)
}
