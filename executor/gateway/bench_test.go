package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
)

// BenchmarkGatewayStream streams an answer of some 1,000 events on each wire,
// direct and through the gateway, and reports the ratio of both in one run and
// what the gateway adds per event.
func BenchmarkGatewayStream(b *testing.B) {
	insert := func(stream, before, event string) []string {
		at := strings.Index(stream, before)
		return strings.SplitAfter(stream[:at]+strings.Repeat(event, 1000)+stream[at:], "\n\n")
	}
	prompt := `"` + strings.Repeat("a prompt of some length ", 2000) + `"`
	streams := map[string][]string{
		"messages": insert(messageStream, "event: content_block_delta",
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"some words of it\"}}\n\n"),
		"responses": insert(responseStream, "event: response.completed",
			"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"some words of it\"}\n\n"),
		"chat completions": insert(chatStream, "data:",
			"data: {\"id\":\"c\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words of it\"},\"finish_reason\":null}],\"usage\":null}\n\n"),
		"gemini": insert(strings.ReplaceAll(geminiStream, "\r\n", "\n"), "data:",
			"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"some words of it\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":30,\"totalTokenCount\":31},\"modelVersion\":\"gemini-2.5-pro\"}\n\n"),
	}
	for _, w := range wireCases() {
		events := streams[w.name]
		b.Run(w.name, func(b *testing.B) {
			benchmarkStream(b, w, events, []byte(strings.Replace(w.streamBody, `"hi"`, prompt, 1)))
		})
	}
}

func benchmarkStream(b *testing.B, w wireCase, events []string, body []byte) {
	url := upstream(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	})
	d := open(b, both(url), gateway.Options{})
	hc := client(b)
	once := func(url, token string) {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
		assert.NilError(b, err)
		req.Header.Set("X-Api-Key", token)
		res, err := hc.Do(req)
		assert.NilError(b, err)
		n, err := io.Copy(io.Discard, res.Body)
		assert.NilError(b, err)
		assert.Assert(b, n > 100_000)
		_ = res.Body.Close()
	}
	var direct, through float64
	run := func(name string, per *float64, url, token string) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				once(url, token)
			}
			*per = float64(b.Elapsed()) / float64(b.N)
			b.ReportMetric(*per/float64(len(events)), "ns/event")
			if direct > 0 && through > 0 {
				b.ReportMetric(through/direct, "x-direct")
				b.ReportMetric((through-direct)/float64(len(events)), "ns-added/event")
			}
		})
	}
	run("direct", &direct, url, testKey)
	run("gateway", &through, d.root()+w.streamPath, d.Token)
}

// BenchmarkGatewayCall is a small whole answer, where what the gateway adds to
// each call weighs most.
func BenchmarkGatewayCall(b *testing.B) {
	answers := map[string]string{"messages": wholeMessage, "responses": wholeResponse, "chat completions": wholeChat, "gemini": wholeGemini}
	for _, w := range wireCases() {
		b.Run(w.name, func(b *testing.B) {
			url := upstream(b, func(rw http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, answers[w.name])
			})
			d := open(b, both(url), gateway.Options{})
			hc := client(b)
			var direct float64
			for _, at := range []struct{ name, url string }{{"direct", url}, {"gateway", d.root() + w.path}} {
				b.Run(at.name, func(b *testing.B) {
					for b.Loop() {
						req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, at.url, strings.NewReader(w.body))
						assert.NilError(b, err)
						req.Header.Set("X-Api-Key", d.Token)
						res, err := hc.Do(req)
						assert.NilError(b, err)
						assert.Equal(b, res.StatusCode, 200)
						_, _ = io.Copy(io.Discard, res.Body)
						_ = res.Body.Close()
					}
					per := float64(b.Elapsed()) / float64(b.N)
					if at.name == "direct" {
						direct = per
					} else if direct > 0 {
						b.ReportMetric((per-direct)/1e3, "us-added/call")
					}
				})
			}
		})
	}
}
