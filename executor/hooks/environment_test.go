package hooks_test

import (
	"os/exec"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/hooks"
)

func TestParseEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		bad        string
	}{
		{"empty", "\n \t\n# A=b\n", nil, ""},
		{"plain", "A=b\nB = c d \r\nC=\n", []string{"A=b", "B=c d", "C="}, ""},
		{"export", "export A=b\nexport\tB=c\nexported=1\n", []string{"A=b", "B=c", "exported=1"}, ""},
		{"comments", "A=b # c\nB=b#c\nC=#d\nD='x' # y\n", []string{"A=b", "B=b#c", "C=", "D=x"}, ""},
		{"single", `A='a "b" $c \n'`, []string{`A=a "b" $c \n`}, ""},
		{"double", `A="a \"b\" \$c \\ \n\t\q 'x'"`, []string{"A=a \"b\" $c \\ \n\t\\q 'x'"}, ""},
		{"equals", "A=b=c", []string{"A=b=c"}, ""},
		{"the same twice", "A=1\nA=2", []string{"A=1", "A=2"}, ""},
		{"no value", "A=1\nhunter2", nil, "line 2 is not of the form NAME=value"},
		{"bad name", "1A=b", nil, "line 1 is not"},
		{"blank in name", "A B=c", nil, "line 1 is not"},
		{"no name", "=b", nil, "line 1 is not"},
		{"single unclosed", "A='hunter2", nil, "line 1: the value of A lacks its closing quote"},
		{"double unclosed", `A="hunter2\`, nil, "line 1: the value of A lacks its closing quote"},
		{"rest", `A="b"hunter2`, nil, "line 1: the value of A goes on after its closing quote"},
		{"NUL", "A=b\x00c", nil, "line 1: the value of A holds a NUL byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hooks.ParseEnvironment(tt.text)
			if tt.bad != "" {
				assert.ErrorContains(t, err, tt.bad)
				assert.Assert(t, !strings.Contains(err.Error(), "hunter2"))
				return
			}
			assert.NilError(t, err)
			assert.DeepEqual(t, got, tt.want)
		})
	}
}

// FuzzParseEnvironment: what is taken can be an environment, and what was written by export is read back.
func FuzzParseEnvironment(f *testing.F) {
	for _, s := range []string{"A=b", "export A=\"x\\n\" # c", "A='b'\nB=", "A=\"\\", "=\n#\n'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := hooks.ParseEnvironment(text)
		if err != nil {
			assert.Equal(t, len(vars), 0)
			return
		}
		cmd := exec.Command("true")
		cmd.Env = append([]string{}, vars...)
		for _, v := range cmd.Environ() { // drops what cannot be
			name, value, ok := strings.Cut(v, "=")
			assert.Assert(t, ok && name != "" && !strings.ContainsAny(name, " \t\n\"'") && !strings.ContainsRune(value, 0), "%q", v)
		}
		assert.Assert(t, len(cmd.Environ()) <= len(vars)+1)
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`)
		var again strings.Builder
		for _, v := range vars {
			name, value, _ := strings.Cut(v, "=")
			again.WriteString("export " + name + `="` + quoted.Replace(value) + "\"\n")
		}
		back, err := hooks.ParseEnvironment(again.String())
		assert.NilError(t, err)
		assert.DeepEqual(t, back, vars)
	})
}
