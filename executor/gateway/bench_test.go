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

// BenchmarkGatewayStream streams an answer of some 1,000 events, direct and
// through the gateway, and reports the ratio of both in one run.
func BenchmarkGatewayStream(b *testing.B) {
	delta := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"some words of it\"}}\n\n"
	at := strings.Index(messageStream, "event: content_block_delta")
	events := strings.SplitAfter(messageStream[:at]+strings.Repeat(delta, 1000)+messageStream[at:], "\n\n")
	url := upstream(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			_, _ = io.WriteString(w, e)
			w.(http.Flusher).Flush()
		}
	})
	d := open(b, both(url), gateway.Options{})
	body := []byte(strings.Replace(streaming, `"hi"`, `"`+strings.Repeat("a prompt of some length ", 2000)+`"`, 1))
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
			}
		})
	}
	run("direct", &direct, url+"/v1/messages", testKey)
	run("gateway", &through, d.messages(), d.Token)
}
