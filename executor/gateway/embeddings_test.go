package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/gateway"
)

// TestEmbeddings: the operation passes as it is with the provider's key, is
// counted by its prompt alone, and is refused when the budget has no room.
func TestEmbeddings(t *testing.T) {
	const body = `{"model":"embed-1","input":["one","two"],"encoding_format":"float"}`
	answer := `{"object":"list","data":[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[0,1]}],"model":"embed-1-2026","usage":{"prompt_tokens":40,"total_tokens":40}}`
	var calls atomic.Int64
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		got, err := io.ReadAll(r.Body)
		assert.Check(t, err)
		assert.Check(t, r.URL.Path == "/v1/embeddings" && string(got) == body, "%s %s", r.URL.Path, got)
		assert.Check(t, r.Header.Get("Authorization") == "Bearer "+testKey)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})
	providers := []gateway.Provider{{Name: "vectors", Wire: gateway.OpenAI, BaseURL: url + "/v1", APIKey: gateway.NewKey(testKey), Models: []string{"embed-1"}}}
	rate, none := 0.02, 0.0
	prices, err := catalog.NewPrices([]catalog.Price{{Models: []string{"embed-1"}, AsOf: "2026-01-01", Rates: catalog.Rates{Input: &rate, Output: &none}}})
	assert.NilError(t, err)
	// A call is reserved by its bytes: 67/3 + 1 = 23 tokens.
	d := open(t, providers, gateway.Options{Prices: prices, Budget: gateway.Budget{MaxTokens: 60, MaxUSD: 1}})
	got := d.send(t, d.OpenAIURL+"/embeddings", body, gateway.CategoryHeader, "codebase_index")
	assert.Equal(t, got.status, http.StatusOK)
	assert.Equal(t, got.body, answer)
	call := d.last(t)
	assert.Equal(t, call.API, gateway.Embeddings)
	assert.Equal(t, call.Category, "codebase_index")
	assert.Equal(t, call.ModelServed, "embed-1-2026")
	assert.Equal(t, call.Class, gateway.ClassNone)
	assert.Equal(t, call.Usage, gateway.Usage{Input: 40})
	assert.Equal(t, call.Cost.Total(), 40*0.02/1e6)

	got = d.send(t, d.OpenAIURL+"/embeddings", body) // 20 are left
	assert.Equal(t, got.status, http.StatusForbidden)
	assert.Equal(t, got.header.Get(gateway.ErrorHeader), string(gateway.ClassBudget))
	assert.Equal(t, calls.Load(), int64(1))
	for bad, want := range map[string]int{`{"input":["x"]}`: 400, `{"model":"other","input":["x"]}`: 404, `nonsense`: 400} {
		assert.Equal(t, d.send(t, d.OpenAIURL+"/embeddings", bad).status, want, bad)
	}
	// An endpoint that does not tell the usage is booked by the bytes.
	answer = strings.Replace(answer, `,"usage":{"prompt_tokens":40,"total_tokens":40}`, "", 1)
	d = open(t, providers, gateway.Options{Prices: prices})
	assert.Equal(t, d.send(t, d.OpenAIURL+"/embeddings", body).status, http.StatusOK)
	call = d.last(t)
	assert.Assert(t, call.UsageEstimated)
	assert.Equal(t, call.Usage, gateway.Usage{Input: int64(len(body)/3 + 1)})
}
