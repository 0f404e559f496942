package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
)

// forms are the ways a key may be spelt in what comes back.
func forms(key string) []string {
	quoted, _ := json.Marshal(key)
	return []string{key, strings.Trim(string(quoted), `"`), url.QueryEscape(key)}
}

func assertHidden(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range forms(testKey) {
		assert.Assert(t, !strings.Contains(text, form), "%s shows the key: %s", what, text)
	}
}

// trickle sends text in pieces of n bytes.
func trickle(w http.ResponseWriter, text string, n int) {
	for len(text) > 0 {
		n = min(n, len(text))
		_, _ = w.Write([]byte(text[:n]))
		w.(http.Flusher).Flush()
		text = text[n:]
	}
}

func TestGatewayKeepsTheCredential(t *testing.T) {
	echo := func(r *http.Request) string {
		all := forms(r.Header.Get("X-Api-Key"))
		return fmt.Sprintf(`{"error":{"type":"x","message":"you sent %s and %s"}}`, all[1], all[2])
	}
	tests := []struct {
		name   string
		body   string
		status int
		answer http.HandlerFunc
	}{
		{"error passed through", hello, 400, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Request-Id", "id-"+r.Header.Get("X-Api-Key"))
			w.WriteHeader(400)
			fmt.Fprint(w, echo(r))
		}},
		{"key refused", hello, 403, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401); fmt.Fprint(w, echo(r)) }},
		{"all attempts failed", hello, 500, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, r.Header) // no JSON at all
		}},
		{"whole answer", hello, 200, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Replace(wholeMessage, `"msg_1"`, `"`+forms(r.Header.Get("X-Api-Key"))[1]+`"`, 1))
		}},
		{"stream in pieces", streaming, 200, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			trickle(w, strings.Replace(messageStream, "hello", strings.Join(forms(r.Header.Get("X-Api-Key")), " sk-"), 1), 3)
		}},
		{"stream cut within the key", streaming, 200, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			key := r.Header.Get("X-Api-Key")
			trickle(w, ": "+key+key[:len(key)/2], 5)
			panic(http.ErrAbortHandler)
		}},
		{"error in the stream", streaming, 200, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"bad %s\"}}\n\n", forms(r.Header.Get("X-Api-Key"))[1])
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var seen []http.Header
			d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header.Clone())
				tt.answer(w, r)
			})), gateway.Options{Retry: gateway.Retry{MaxAttempts: 2, Initial: 1}})
			got := d.send(t, d.messages(), tt.body, "Authorization", "Bearer "+d.Token)
			assert.Equal(t, got.status, tt.status, got.body)
			assertHidden(t, "the body", got.body)
			assertHidden(t, "the header", fmt.Sprint(got.header))
			record, err := json.Marshal(d.recorded())
			assert.NilError(t, err)
			assertHidden(t, "the record", string(record))
			if err := d.last(t).Err(); err != nil {
				assertHidden(t, "the error", err.Error())
			}
			// The provider got its key and nothing of the run's.
			for _, h := range seen {
				assert.Equal(t, h.Get("X-Api-Key"), testKey)
				assert.Assert(t, !strings.Contains(fmt.Sprint(h), d.Token), "the run's token went upstream")
			}
			assert.Assert(t, len(seen) > 0)
		})
	}
}

func TestGatewayFollowsNoRedirect(t *testing.T) {
	elsewhere := upstream(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the key went to %s", r.Host) })
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+"/v1/messages", http.StatusTemporaryRedirect)
	})), gateway.Options{Retry: gateway.Retry{MaxAttempts: 1}})
	got := d.send(t, d.messages(), hello)
	assert.Equal(t, got.status, http.StatusBadGateway)
	_, code, message := got.shape(t)
	assert.Equal(t, code, string(gateway.ClassUnreachable))
	assert.Assert(t, strings.Contains(message, "redirects"), message)
}

func TestCredentialCannotBePrinted(t *testing.T) {
	p := both("http://127.0.0.1:1")[0]
	encoded, err := json.Marshal(p)
	assert.NilError(t, err)
	for _, text := range []string{fmt.Sprint(p), fmt.Sprintf("%+v %#v %s %q %x", p, p, p.APIKey, p.APIKey, p.APIKey), string(encoded)} {
		assertHidden(t, "the provider", text)
		assert.Assert(t, strings.Contains(text, "[hidden]"), text)
		assert.Assert(t, !strings.Contains(text, fmt.Sprintf("%x", testKey)), text)
	}
}

func TestBearerAuthAndNoAuth(t *testing.T) {
	var got http.Header
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		fmt.Fprint(w, wholeMessage)
	})
	d := open(t, []gateway.Provider{
		{Name: "bearer", Wire: gateway.Anthropic, BaseURL: url, APIKey: gateway.NewKey(testKey), BearerAuth: true, Models: []string{"claude-a"}},
		{Name: "google", Wire: gateway.Gemini, BaseURL: url, APIKey: gateway.NewKey(testKey), BearerAuth: true, Models: []string{"gemini-a"}},
		{Name: "none", Wire: gateway.Anthropic, BaseURL: url + "/sub/", Models: []string{"claude-b"}},
	}, gateway.Options{})
	d.send(t, d.messages(), `{"model":"claude-a"}`)
	assert.Equal(t, got.Get("Authorization"), "Bearer "+testKey)
	assert.Equal(t, got.Get("X-Api-Key"), "")
	d.send(t, d.GeminiURL+"/v1beta/models/gemini-a:generateContent", generate)
	assert.Equal(t, got.Get("Authorization"), "Bearer "+testKey)
	assert.Equal(t, got.Get("X-Goog-Api-Key"), "")
	d.send(t, d.messages(), `{"model":"claude-b"}`)
	assert.Equal(t, got.Get("Authorization")+got.Get("X-Api-Key"), "")
}

func TestNewRefuses(t *testing.T) {
	good := both("http://127.0.0.1:1")[0]
	with := func(change func(*gateway.Provider)) []gateway.Provider {
		p := good
		change(&p)
		return []gateway.Provider{p}
	}
	tests := []struct {
		name      string
		providers []gateway.Provider
		opts      gateway.Options
		want      string
	}{
		{"no provider", nil, gateway.Options{}, "no provider"},
		{"no name", with(func(p *gateway.Provider) { p.Name = "" }), gateway.Options{}, "name"},
		{"same name", []gateway.Provider{good, good}, gateway.Options{}, "twice"},
		{"wire", with(func(p *gateway.Provider) { p.Wire = "gopher" }), gateway.Options{}, "wire"},
		{"no models", with(func(p *gateway.Provider) { p.Models = nil }), gateway.Options{}, "models"},
		{"odd pattern", with(func(p *gateway.Provider) { p.Models = []string{"a*b"} }), gateway.Options{}, "* at the end"},
		{"short key", with(func(p *gateway.Provider) { p.APIKey = gateway.NewKey("short") }), gateway.Options{}, "fewer than 8"},
		{"key with line break", with(func(p *gateway.Provider) { p.APIKey = gateway.NewKey(testKey + "\n") }), gateway.Options{}, "line break"},
		{"URL with a credential", with(func(p *gateway.Provider) { p.BaseURL = "https://u:topsecret@host" }), gateway.Options{}, "credentials"},
		{"URL with a query", with(func(p *gateway.Provider) { p.BaseURL = "https://host?key=topsecret" }), gateway.Options{}, "query"},
		{"no URL", with(func(p *gateway.Provider) { p.BaseURL = "://topsecret" }), gateway.Options{}, "not a URL"},
		{"scheme", with(func(p *gateway.Provider) { p.BaseURL = "ftp://host" }), gateway.Options{}, "http"},
		{"fallback", with(func(p *gateway.Provider) { p.Fallback = []gateway.Target{{Provider: "nobody"}} }), gateway.Options{}, "fallback"},
		{"alias", []gateway.Provider{good}, gateway.Options{Aliases: map[string]string{"auto": "gpt-9"}}, "alias"},
		{"negative budget", []gateway.Provider{good}, gateway.Options{Budget: gateway.Budget{MaxUSD: -1}}, "budget"},
		{"huge budget", []gateway.Provider{good}, gateway.Options{Budget: gateway.Budget{SpentUSD: 1e9}}, "budget"},
		{"retries", []gateway.Provider{good}, gateway.Options{Retry: gateway.Retry{MaxAttempts: -1}}, "MaxAttempts"},
		{"time-out", []gateway.Provider{good}, gateway.Options{IdleTimeout: -1}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := gateway.New(tt.providers, &tt.opts)
			assert.ErrorContains(t, err, tt.want)
			assert.Assert(t, !strings.Contains(err.Error(), "topsecret"), err)
		})
	}
}
