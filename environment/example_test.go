package environment_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/task"
)

// A workspace without repositories: its setup commands run in order, and each
// one starts in the working directory.
func ExamplePreparer_Prepare() {
	ctx := context.Background()
	g, err := git.Open(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer g.Close()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	ws, err := environment.NewPreparer(g, nil).Prepare(ctx, environment.Options{
		Dir:    dir,
		Config: environment.Config{Name: "hello", SetupCommands: []string{"mkdir src && cd src", "echo hello > greeting"}},
		Report: func(s environment.Step) { fmt.Println(s.Phase, s.Number, s.Status) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	greeting, err := os.ReadFile(filepath.Join(ws.WorkingDir, "greeting"))
	fmt.Printf("%s%v\n", greeting, err)
	// Output:
	// setup 1 started
	// setup 1 done
	// setup 2 started
	// setup 2 done
	// hello
	// <nil>
}

// What is wrong with a configuration is told by field.
func ExampleConfig_Validate() {
	c := environment.Config{Name: "backend", Repos: []environment.Repo{{Name: "app", URL: "https://token@git.example.com/team/app"}}}
	err := c.Validate()
	fmt.Println(task.CodeOf(err))
	fmt.Println(err)
	// Output:
	// invalid_request
	// github_repos[0].url: must not hold credentials: store them as a secret and leave out the part before @
}

func ExampleParseRepo() {
	r, err := environment.ParseRepo("https://git.example.com/team/app.git")
	fmt.Println(r, r.Dir(), err)
	// Output: team/app app <nil>
}
