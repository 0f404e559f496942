package secrets_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

func ExampleRedactor() {
	redactor := secrets.NewRedactor(nil)
	if err := redactor.Add("NPM_TOKEN", "npm_aB3dE5fG7hJ9"); err != nil {
		panic(err)
	}
	fmt.Println(redactor.String("curl https://x/?t=npm%5FaB3dE5fG7hJ9"))
	fmt.Println(redactor.String("auth: " + base64.StdEncoding.EncodeToString([]byte("ci:npm_aB3dE5fG7hJ9"))))
	fmt.Println(redactor.Contains([]byte(`{"token": "npm\u005faB3dE5fG7hJ9"}`)))
	// Output:
	// curl https://x/?t=[redacted:NPM_TOKEN]
	// auth: Y2k6[redacted:NPM_TOKEN]
	// [NPM_TOKEN]
}

func ExampleRedactor_Writer() {
	redactor := secrets.NewRedactor(nil)
	if err := redactor.Add("NPM_TOKEN", "npm_aB3dE5fG7hJ9"); err != nil {
		panic(err)
	}
	out := redactor.Writer(os.Stdout)
	for _, piece := range []string{"//registry/:_authToken=npm_aB", "3dE5", "\x1b[0mfG7hJ9\n", "done\n"} {
		if _, err := io.WriteString(out, piece); err != nil {
			panic(err)
		}
	}
	fmt.Println(out.Close())
	// Output:
	// //registry/:_authToken=[redacted:NPM_TOKEN]
	// done
	// <nil>
}

func ExampleResolve() {
	provider := fixed{
		team: {secrets.Value{Name: "NPM_TOKEN", Scope: team}.With("npm_of-the-team-4711")},
		ann:  {secrets.Value{Name: "NPM_TOKEN", Scope: ann}.With("npm_of-ann-4712")},
	}
	for _, person := range []string{"ann", ""} {
		set, err := secrets.Resolve(context.Background(), []secrets.Provider{provider}, secrets.Request{
			Owner:  task.Scope{Type: task.ScopeTeam, UID: "t1"},
			Person: person,
			Allow:  &[]string{"NPM_TOKEN", "GH_TOKEN"},
		})
		fmt.Println(set.Environ(), set.Missing, err)
	}
	// Output:
	// [NPM_TOKEN=npm_of-ann-4712] [GH_TOKEN] <nil>
	// [NPM_TOKEN=npm_of-the-team-4711] [GH_TOKEN] <nil>
}

func ExampleCheckValue() {
	fmt.Println(secrets.CheckValue("hunter2"))
	fmt.Println(secrets.CheckValue("kV7-pQ2x-9LmZ"))
	// Output:
	// value: the value has 7 characters that count, fewer than 8: a secret that is easily guessed protects nothing, and hiding it would hide ordinary text. Use a longer random value, or a plain environment variable if it is not secret
	// <nil>
}
