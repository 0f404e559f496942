package yamlfile_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/yamlfile"
)

type file struct {
	Name  string   `yaml:"name"`
	Count int      `yaml:"count"`
	Share float64  `yaml:"share"`
	On    *bool    `yaml:"on"`
	List  []string `yaml:"list"`
	Sub   struct {
		Key int64 `yaml:"key"`
	} `yaml:"sub"`
}

func TestUnmarshalKeepsWhatIsNotNamed(t *testing.T) {
	for _, raw := range []string{"count: 3", `{"count": 3}`} {
		f := file{Name: "kept", Count: 1}
		assert.NilError(t, yamlfile.Unmarshal([]byte(raw), &f))
		assert.DeepEqual(t, f, file{Name: "kept", Count: 3})
	}
	f := file{Name: "kept"}
	assert.NilError(t, yamlfile.Unmarshal([]byte("# nothing but a comment\n"), &f))
	assert.Equal(t, f.Name, "kept")
}

func TestErrorsShowTheirPlace(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"unknown key", "name: a\ncuont: 1\n", `[2:1] unknown field "cuont"`},
		{"key given twice", "name: a\nname: b\n", `[2:1] mapping key "name" already defined`},
		{"number", "name: a\ncount: many\n", "[2:8] this must be a whole number"},
		{"number within", "sub:\n  key: many\n", "[2:8] this must be a whole number"},
		{"fraction", "share: much\n", "[1:8] this must be a number"},
		{"switch", "on: perhaps\n", "[1:5] this must be true or false"},
		{"list", "list: {a: b}\n", "[1:7] mapping was used where sequence is expected"},
		{"group", "sub: [1]\n", "[1:6] sequence was used where mapping is expected"},
		{"syntax", "name: [a\ncount: 1\n", "[2:1] ',' or ']' must be specified"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f file
			err := yamlfile.Unmarshal([]byte(tt.raw), &f)
			assert.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "\n>", "the source line is not shown")
		})
	}
}
