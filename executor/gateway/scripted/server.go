package scripted

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxBodyBytes is the real limit of the Messages API.
	maxBodyBytes = 32 << 20
	// maxRequests is how many requests are kept for Requests.
	maxRequests = 4096
)

// Options holds what a Server can do without.
type Options struct {
	// APIKey must be shown by clients: as x-api-key, x-goog-api-key, ?key= or as
	// a bearer token.
	// Default: every client is welcome.
	APIKey string
	// Models are the ids known; others are answered 404. Default: all.
	Models []string
	// ContextTokens refuses larger requests as too long, counted as a quarter of
	// the body's bytes. Default: no limit.
	ContextTokens int64
	// AllowRepeatedRoles takes messages of one role in a row on the Anthropic
	// wire, as the real API does, which joins them. Default: they are refused,
	// because they usually mean that one between them was lost.
	AllowRepeatedRoles bool
	// Clock waits between events. Default: the system's.
	Clock task.Clock
}

// Server is the model. It is an http.Handler with the vendors' paths:
// /v1/messages, /v1/messages/count_tokens, /v1/responses, /v1/chat/completions,
// /v1/models, and /v1beta/models/ for the Gemini API. Safe for concurrent use.
type Server struct {
	script Script
	opts   Options

	mu       sync.Mutex
	n        int // requests so far
	arrived  int // numbered steps played, for ByArrival
	used     map[faultID]int
	requests []Request
}

type faultID struct{ step, fault int }

var _ http.Handler = (*Server)(nil)

// New returns a Server that plays script. opts may be nil.
func New(script Script, opts *Options) (*Server, error) {
	if err := script.validate(); err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	s := &Server{script: script, used: map[faultID]int{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.Clock == nil {
		s.opts.Clock = task.SystemClock()
	}
	s.script.Steps = slices.Clone(script.Steps)
	return s, nil
}

// Requests are the requests answered so far, the newest last; of many, the last 4096.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Problems are the requests that were refused as invalid.
func (s *Server) Problems() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return r.Problem == "" })
}

// Listening is a Server that listens on loopback.
type Listening struct {
	// URL is the root, without a path.
	URL string
	// AnthropicURL is the base URL for the Anthropic wire, OpenAIURL for the
	// OpenAI wire, GeminiURL for the Gemini wire.
	AnthropicURL, OpenAIURL, GeminiURL string

	close func() error
}

// Close stops listening and breaks what is under way. It may be called twice.
func (l *Listening) Close() error { return l.close() }

// Start listens on a free port of 127.0.0.1 until it is closed.
func (s *Server) Start() (*Listening, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("scripted model: %w", err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with ErrServerClosed
	}()
	url := "http://" + ln.Addr().String()
	return &Listening{URL: url, AnthropicURL: url, OpenAIURL: url + "/v1", GeminiURL: url, close: sync.OnceValue(func() error {
		err := srv.Close()
		<-done
		return err
	})}, nil
}

// Run is Start for a program that has nothing else to do: it listens, tells
// ready where, and returns when ctx ends.
func (s *Server) Run(ctx context.Context, ready func(*Listening)) error {
	at, err := s.Start()
	if err != nil {
		return err
	}
	ready(at)
	<-ctx.Done()
	return at.Close()
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	api, ok := map[string]API{
		"/v1/messages": Messages, "/v1/messages/count_tokens": CountTokens,
		"/v1/responses": Responses, "/v1/chat/completions": ChatCompletions,
	}[r.URL.Path]
	req := &Request{API: api, Step: -1, Header: withoutCredentials(r.Header)}
	if !ok {
		req.API = guessAPI(r)
		ok = geminiOperation(r, req)
	}
	w.Header().Set("Request-Id", "req_scripted")
	w.Header().Set("X-Request-Id", "req_scripted")
	if p := s.admit(r); p != nil {
		s.refuse(w, req, p, 0)
		return
	}
	if r.Method == http.MethodGet && (r.URL.Path == "/v1/models" || r.URL.Path == "/v1beta/models") {
		s.listModels(w)
		return
	}
	if !ok || r.Method != http.MethodPost {
		s.refuse(w, req, &problem{status: http.StatusNotFound, message: "Invalid URL (" + r.Method + " " + r.URL.Path + ")"}, 0)
		return
	}
	if p := s.understand(w, r, req); p != nil {
		req.Problem = p.message
		s.refuse(w, req, p, 0)
		return
	}
	s.answer(w, r, req)
}

// guessAPI tells in whose shape to refuse a path that is nobody's.
func guessAPI(r *http.Request) API {
	if r.Header.Get("X-Goog-Api-Key") != "" || strings.HasPrefix(r.URL.Path, "/v1beta/") {
		return GenerateContent
	}
	if r.Header.Get("Anthropic-Version") != "" || r.Header.Get("X-Api-Key") != "" {
		return Messages
	}
	return ChatCompletions
}

// admit checks the key.
func (s *Server) admit(r *http.Request) *problem {
	shown := cmp.Or(r.Header.Get("X-Api-Key"), r.Header.Get("X-Goog-Api-Key"), r.URL.Query().Get("key"),
		strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if s.opts.APIKey != "" && subtle.ConstantTimeCompare([]byte(shown), []byte(s.opts.APIKey)) != 1 {
		return &problem{status: http.StatusUnauthorized, code: "invalid_api_key", message: "invalid x-api-key or bearer token"}
	}
	return nil
}

// understand reads the body into req and checks it.
func (s *Server) understand(w http.ResponseWriter, r *http.Request, req *Request) *problem {
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return invalid("Content-Type: want application/json, got %q", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{status: http.StatusRequestEntityTooLarge, message: "Request exceeds the maximum size"}
	}
	if err != nil || !json.Valid(body) {
		return invalid("The request body is not valid JSON")
	}
	req.Body = body
	if p := s.parse(req); p != nil {
		return p
	}
	if len(s.opts.Models) > 0 && !slices.Contains(s.opts.Models, req.Model) {
		return &problem{status: http.StatusNotFound, code: "model_not_found", message: "model: " + req.Model + " does not exist"}
	}
	if n := guessTokens(len(body)); s.opts.ContextTokens > 0 && n > s.opts.ContextTokens {
		return tooLong(req.API, n, s.opts.ContextTokens)
	}
	return nil
}

func (s *Server) parse(req *Request) *problem {
	switch req.API {
	case Responses:
		return parseResponses(req)
	case ChatCompletions:
		return parseChat(req)
	case GenerateContent, GeminiCountTokens:
		return parseGemini(req)
	}
	return s.parseAnthropic(req)
}

// tooLong is how each vendor says that a conversation does not fit.
func tooLong(api API, n, limit int64) *problem {
	if api.anthropic() {
		return invalid("prompt is too long: %d tokens > %d maximum", n, limit)
	}
	if api.gemini() {
		return invalid("The input token count (%d) exceeds the maximum number of tokens allowed (%d).", n, limit)
	}
	p := invalid("This model's maximum context length is %d tokens. However, your messages resulted in %d tokens.", limit, n)
	p.code = "context_length_exceeded"
	return p
}

// answer plays the step for a request, or its next fault.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *Request) {
	if count := map[API]string{CountTokens: "input_tokens", GeminiCountTokens: "totalTokens"}[req.API]; count != "" {
		s.record(req, http.StatusOK)
		writeJSON(w, http.StatusOK, object{count: guessTokens(len(req.Body))})
		return
	}
	index, fault := s.choose(req)
	if index < 0 {
		p := invalid("the script has no step for turn %d of this conversation", req.Turn)
		req.Problem = p.message
		s.refuse(w, req, p, 0)
		return
	}
	req.Step = index
	step := &s.script.Steps[index]
	if fault != nil && fault.Status != 0 {
		s.refuse(w, req, fault.problem(), fault.RetryAfter)
		return
	}
	s.record(req, http.StatusOK)
	t := newTurn(req, step, s.opts.Clock.Now())
	p := &player{w: w, r: r, clock: s.opts.Clock, delay: step.EventDelay, fault: fault}
	if req.Stream && !req.array {
		p.stream(t.events())
		return
	}
	p.whole(t.document())
}

func (t *turn) events() []event {
	switch t.request.API {
	case Responses:
		return responsesEvents(t)
	case ChatCompletions:
		return chatEvents(t)
	case GenerateContent:
		return geminiEvents(t)
	}
	return anthropicEvents(t)
}

func (t *turn) document() any {
	switch t.request.API {
	case Responses:
		return responsesAnswer(t)
	case ChatCompletions:
		return chatAnswer(t)
	case GenerateContent:
		if t.request.array {
			return geminiArray(t)
		}
		return geminiAnswer(t)
	}
	return anthropicAnswer(t)
}

// choose finds the step for a request, -1 when there is none, and the fault it
// meets, if any.
func (s *Server) choose(req *Request) (int, *Fault) {
	index := s.conditional(req) // outside the lock: it calls the script's functions
	s.mu.Lock()
	defer s.mu.Unlock()
	numbered := index < 0
	if numbered {
		index = s.numbered(req)
	}
	if index < 0 {
		return index, nil
	}
	for i := range s.script.Steps[index].Faults {
		f := &s.script.Steps[index].Faults[i]
		id := faultID{index, i}
		if f.Times == -1 || s.used[id] < max(1, f.Times) {
			s.used[id]++
			return index, f
		}
	}
	if numbered {
		s.arrived++
	}
	return index, nil
}

// conditional is the first step whose condition holds, -1 when there is none.
func (s *Server) conditional(req *Request) int {
	return slices.IndexFunc(s.script.Steps, func(step Step) bool { return step.conditional() && step.applies(req) })
}

// numbered is the step whose turn it is, -1 when the script is over.
func (s *Server) numbered(req *Request) int {
	left := req.Turn
	if s.script.Order == ByArrival {
		left = s.arrived
	}
	for i := range s.script.Steps {
		if s.script.Steps[i].conditional() {
			continue
		}
		if left == 0 {
			return i
		}
		left--
	}
	return -1
}

func (f *Fault) problem() *problem {
	message := f.Message
	if message == "" {
		message = defaulted(http.StatusText(f.Status), "Overloaded")
	}
	return &problem{status: f.Status, kind: f.Type, message: message}
}

func defaulted(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// record keeps a request before its answer is sent, so that whoever has the
// answer finds the request.
func (s *Server) record(req *Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	req.N, req.Status = s.n, status
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, *req)
}

func (s *Server) refuse(w http.ResponseWriter, req *Request, p *problem, retryAfter time.Duration) {
	s.record(req, p.status)
	if req.API.gemini() { // it asks for pauses in the document
		writeJSON(w, p.status, geminiError(p, retryAfter))
		return
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After-Ms", strconv.FormatInt(retryAfter.Milliseconds(), 10))
		w.Header().Set("Retry-After", strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10))
	}
	if req.API.anthropic() {
		writeJSON(w, p.status, anthropicError(p, "req_scripted"))
		return
	}
	writeJSON(w, p.status, openAIError(p))
}

func (s *Server) listModels(w http.ResponseWriter) {
	data, gemini := []any{}, []any{}
	for _, id := range s.opts.Models {
		gemini = append(gemini, object{"name": "models/" + id, "displayName": id, "supportedGenerationMethods": []string{"generateContent", "countTokens"}})
		data = append(data, object{"id": id, "object": "model", "type": "model", "display_name": id, "created": 0, "owned_by": "scripted"})
	}
	writeJSON(w, http.StatusOK, object{"object": "list", "data": data, "has_more": false, "models": gemini})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nobody to tell
}
