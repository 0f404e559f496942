package termws_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"go.uber.org/goleak"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/internal/termws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// FuzzParse reads text frames of anybody: what comes out is within the bounds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"opened","terminal_id":"x","cols":1,"rows":1}`))
	f.Add([]byte(`{"type":"resize","cols":-1,"rows":1e3}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := termws.Parse(data)
		if err != nil {
			return
		}
		assert.Assert(t, frame.Data == nil)
		if frame.Size != nil && frame.Opened == "" { // an "opened" without an id is the server's, and its size without meaning
			var k struct{ Type string }
			assert.NilError(t, json.Unmarshal(data, &k))
			assert.Assert(t, k.Type == "opened" || frame.Size.Validate() == nil)
		}
	})
}

// TestKey finds the key that a page has named beside the protocol.
func TestKey(t *testing.T) {
	named := termws.BearerPrefix + base64.RawURLEncoding.EncodeToString([]byte("My API Key"))
	for _, tt := range []struct {
		protocols []string
		key       string
		ok        bool
	}{
		{nil, "", true},
		{[]string{"oz.terminal.v1"}, "", true},
		{[]string{"oz.terminal.v1, " + named}, "My API Key", true},
		{[]string{"oz.terminal.v1", named}, "My API Key", true},
		{[]string{termws.BearerPrefix}, "", false},
		{[]string{termws.BearerPrefix + "a=b"}, "", false},
	} {
		key, ok := termws.Key(tt.protocols)
		assert.Equal(t, ok, tt.ok, "%v", tt.protocols)
		if ok {
			assert.Equal(t, key, tt.key)
		}
	}
}
