package codeindex

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Limits of what an endpoint for embeddings may answer.
const (
	// MaxDimensions is how long a vector may be.
	MaxDimensions  = 4096
	maxAnswerBytes = 8 << 20
	maxBatch       = 32 // texts of one request
)

// Embeddings is an endpoint of the form of OpenAI's POST /v1/embeddings, to
// which pieces of a repository's files, and queries, are sent.
type Embeddings struct {
	// URL is that of the endpoint itself, with /embeddings at its end. Required.
	URL string
	// Model is what to ask for. Vectors are kept by it. Required.
	Model string
	// Header goes with each request; it may hold the authorization.
	Header http.Header
	// MaxBytes is how much of the files one Repository may send. What is left is
	// sent by later runs. Default 8 MiB; negative is nothing.
	MaxBytes int64
	// Hide reports whether a text holds something that must not be sent, beside
	// what looks like a secret by itself. Default: none does.
	Hide func(text []byte) bool
	// QueryTimeout is how long a search waits for its vector. Default 5 s.
	QueryTimeout time.Duration
	// BatchTimeout is how long one request for pieces may take. Default 60 s.
	BatchTimeout time.Duration
	// MaxTime is how long Embed goes on. Default 15 min.
	MaxTime time.Duration
	// Clock tells how long an endpoint is left alone after it failed. Default:
	// the system's.
	Clock task.Clock
}

func (e Embeddings) withDefaults() Embeddings {
	e.MaxBytes = cmp.Or(e.MaxBytes, 8<<20)
	e.QueryTimeout = cmp.Or(e.QueryTimeout, 5*time.Second)
	e.BatchTimeout = cmp.Or(e.BatchTimeout, time.Minute)
	e.MaxTime = cmp.Or(e.MaxTime, 15*time.Minute)
	if e.Clock == nil {
		e.Clock = task.SystemClock()
	}
	return e
}

// ask gets the vectors of texts, each of length 1. Its errors say what was
// wrong with the endpoint in words of this package: what it answers is not
// shown to an agent.
func (e *Embeddings) ask(ctx context.Context, limit time.Duration, texts []string) ([][]float32, error) {
	body, err := json.Marshal(struct {
		Model    string   `json:"model"`
		Input    []string `json:"input"`
		Encoding string   `json:"encoding_format"`
	}{e.Model, texts, "float"})
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := e.post(asking, body)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case asking.Err() != nil:
		return nil, fmt.Errorf("the endpoint for embeddings did not answer within %s", limit)
	case err != nil:
		return nil, err
	}
	return parseVectors(answer, len(texts))
}

func (e *Embeddings) post(ctx context.Context, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the address of the endpoint for embeddings is none")
	}
	for name, values := range e.Header {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	// The transport is called directly: a client would follow redirects with the
	// authorization. It is asked rarely, so that no connection is kept.
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil, errors.New("the endpoint for embeddings cannot be reached")
	}
	defer func() { _ = res.Body.Close() }() // only read
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the endpoint for embeddings answered HTTP %d%s", res.StatusCode, reason(answer))
	case err != nil:
		return nil, errors.New("the endpoint for embeddings broke off its answer")
	case len(answer) > maxAnswerBytes:
		return nil, fmt.Errorf("the endpoint for embeddings answered with more than %d bytes", maxAnswerBytes)
	}
	return answer, nil
}

// reason is the code of an error, where it is one word.
func reason(answer []byte) string {
	var doc struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &doc) != nil || doc.Error.Code == "" || len(doc.Error.Code) > 40 {
		return ""
	}
	for _, c := range []byte(doc.Error.Code) {
		if !wordByte(c) || c >= 0x80 {
			return ""
		}
	}
	return " (" + doc.Error.Code + ")"
}

// parseVectors reads the answer to a request with want texts.
func parseVectors(answer []byte, want int) ([][]float32, error) {
	var doc struct {
		Data []struct {
			Index     *int      `json:"index"`
			Embedding []float64 `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil {
		return nil, errors.New("the endpoint for embeddings answered with something else than vectors")
	}
	if len(doc.Data) != want {
		return nil, fmt.Errorf("the endpoint for embeddings answered with %d vectors for %d texts", len(doc.Data), want)
	}
	out := make([][]float32, want)
	for i, d := range doc.Data {
		if d.Index != nil {
			i = *d.Index
		}
		if i < 0 || i >= want || out[i] != nil {
			return nil, errors.New("the endpoint for embeddings answered for texts that it was not given, or twice for one")
		}
		unit, err := unitOf(d.Embedding)
		if err != nil {
			return nil, err
		}
		out[i] = unit
	}
	for _, v := range out {
		if len(v) != len(out[0]) {
			return nil, errors.New("the endpoint for embeddings answered with vectors of different dimensions")
		}
	}
	return out, nil
}

// unitOf gives a vector the length 1.
func unitOf(v []float64) ([]float32, error) {
	if len(v) == 0 || len(v) > MaxDimensions {
		return nil, fmt.Errorf("the endpoint for embeddings answered with a vector of %d dimensions; 1 to %d are possible", len(v), MaxDimensions)
	}
	most := 0.0
	for _, x := range v {
		most = max(most, math.Abs(x)) // stays NaN once it is
	}
	if most == 0 || math.IsNaN(most) || math.IsInf(most, 0) {
		return nil, errors.New("the endpoint for embeddings answered with a vector that has no direction")
	}
	sum := 0.0
	for _, x := range v {
		sum += (x / most) * (x / most)
	}
	length := math.Sqrt(sum)
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x / most / length)
	}
	return out, nil
}
