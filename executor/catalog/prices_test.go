package catalog_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/catalog"
)

func TestLoadPricesRefuses(t *testing.T) {
	const entry = `"input":1,"output":2,"as_of":"2026-01-31"`
	tests := []struct{ name, text, want string }{
		{"no JSON", `{`, "price file"},
		{"unknown field", `{"models":[{"models":["a"],` + entry + `,"ouput":3}]}`, "ouput"},
		{"two documents", `{"models":[]} {}`, "more than one"},
		{"no models", `{"models":[{` + entry + `}]}`, "models"},
		{"no output", `{"models":[{"models":["a"],"input":1,"as_of":"2026-01-31"}]}`, "required"},
		{"negative", `{"models":[{"models":["a"],"input":-1,"output":2,"as_of":"2026-01-31"}]}`, "between"},
		{"per token by the wrong factor", `{"models":[{"models":["a"],"input":1,"output":2000000,"as_of":"2026-01-31"}]}`, "between"},
		{"no date", `{"models":[{"models":["a"],"input":1,"output":2}]}`, "as_of"},
		{"twice", `{"models":[{"models":["a"],` + entry + `},{"models":["a"],` + entry + `}]}`, "priced twice"},
		{"pattern twice", `{"models":[{"models":["a*","a*"],` + entry + `}]}`, "priced twice"},
		{"odd pattern", `{"models":[{"models":["a*b"],` + entry + `}]}`, "* at the end"},
		{"long context", `{"models":[{"models":["a"],` + entry + `,"long_context":{"over_input_tokens":0,"input":1,"output":1}}]}`, "over_input_tokens"},
		{"window", `{"models":[{"models":["a"],` + entry + `,"context_window":-1}]}`, "context_window"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := catalog.LoadPrices(strings.NewReader(tt.text))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
