package scripted_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

func ExampleServer_Start() {
	server, err := scripted.New(scripted.Script{Steps: []scripted.Step{
		{Text: "Hello.", Usage: &scripted.Usage{Input: 8, Output: 2}},
	}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	at, err := server.Start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer at.Close()

	res, err := http.Post(at.OpenAIURL+"/chat/completions", "application/json",
		strings.NewReader(`{"model":"any","messages":[{"role":"user","content":"Hi!"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(res.Status, strings.Contains(string(body), `"content":"Hello."`))
	fmt.Println(server.Requests()[0].LastUserText())
	// Output:
	// 200 OK true
	// Hi!
}

func ExampleLoad() {
	script, err := scripted.Load(strings.NewReader(`
steps:
  - text: Let me look.
    tool_calls: [{name: run_command, input: {command: ls}}]
    faults: [{status: 529, retry_after: 20ms}]
  - text: There is one file.
`))
	fmt.Println(len(script.Steps), script.Steps[0].ToolCalls[0].Name, err)
	_, err = scripted.Load(strings.NewReader("steps: [{tetx: x}]"))
	fmt.Println(err != nil)
	// Output:
	// 2 run_command <nil>
	// true
}
