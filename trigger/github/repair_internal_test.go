package github

import (
	"net/http"
	"testing"

	"gotest.tools/v3/assert"
)

func TestNextCursor(t *testing.T) {
	for link, want := range map[string]string{
		"": "",
		`<https://api.github.com/app/hook/deliveries?per_page=100&cursor=v1_12>; rel="next"`:                     "v1_12",
		`<https://api.github.com/x?cursor=v1_1>; rel="prev", <https://api.github.com/x?cursor=v1_2>; rel="next"`: "v1_2",
		`<https://api.github.com/x?cursor=v1_1>; rel="first"`:                                                    "",
		`<https://api.github.com/x?cursor=a%26per_page%3D1>; rel="next"`:                                         "a&per_page=1",
		`<::>; rel="next"`: "",
		`next`:             "",
	} {
		assert.Equal(t, nextCursor(http.Header{"Link": {link}}), want, link)
	}
}

func FuzzNextCursor(f *testing.F) {
	f.Add(`<https://api.github.com/app/hook/deliveries?cursor=v1_12>; rel="next"`)
	f.Add(`<?cursor=>;rel=next, <`)
	f.Fuzz(func(t *testing.T, link string) {
		assert.Assert(t, len(nextCursor(http.Header{"Link": {link}})) <= 200)
	})
}
