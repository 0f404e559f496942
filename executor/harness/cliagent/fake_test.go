package cliagent_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// fakeName makes the test binary act as a third party's program; it says how.
const fakeName = "CLIAGENT_FAKE"

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeName); how != "" {
		fake(how)
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a program with a mind of its own. It ends the process.
func fake(how string) {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("fake 1.2.3 (a test)")
		os.Exit(0)
	}
	prompt, _ := bufio.NewReader(os.Stdin).ReadString('\x00') // all of it
	out := bufio.NewWriter(os.Stdout)
	say := func(v map[string]any) {
		data, _ := json.Marshal(v)
		_, _ = out.Write(append(data, '\n'))
	}
	session := filepath.Join(os.Getenv("FAKE_HOME"), "session")
	var said []string
	if data, err := os.ReadFile(session); err == nil {
		_ = json.Unmarshal(data, &said)
	}
	said = append(said, prompt)
	data, _ := json.Marshal(said)
	_ = os.WriteFile(session, data, 0o600)
	if how == "no-resume" && len(said) > 1 {
		_ = os.Remove(session)
		fmt.Fprintln(os.Stderr, "no such session")
		os.Exit(1)
	}
	say(map[string]any{"began": "native-1"})
	switch how {
	case "answer":
		say(map[string]any{"text": "said " + prompt})
	case "hang":
		_ = out.Flush()
		select {}
	case "deaf":
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		_ = out.Flush()
		select {}
	case "crash":
		fmt.Fprintln(os.Stderr, "panic: the sky fell, key "+os.Getenv("FAKE_SECRET"))
		say(map[string]any{"text": "I begin."})
		_ = out.Flush()
		os.Exit(9)
	case "half":
		_, _ = out.WriteString(`{"text":"cut in the mid`)
		_ = out.Flush()
		os.Exit(0)
	case "noise":
		_, _ = out.WriteString("not json\n{\n\n[]\nnull\n\"x\"\n\xff\xfe\n")
		say(map[string]any{"text": "said"})
	case "large":
		_, _ = out.WriteString(`{"text":"`)
		piece := strings.Repeat("a", 1<<20)
		for range 100 {
			_, _ = out.WriteString(piece)
		}
		_, _ = out.WriteString("\"}\n")
		say(map[string]any{"text": "said"})
	case "orphan":
		child := exec.Command("sh", "-c", "setsid sh -c 'echo $$ > pid; exec sleep 600' & while [ ! -s pid ]; do sleep 0.02; done")
		child.Stdout = os.Stdout // held open
		_ = child.Run()
		say(map[string]any{"text": "said"})
	case "tool-hang":
		say(map[string]any{"text": "I call.", "call": "c1"})
		_ = out.Flush()
		if len(said) > 1 {
			say(map[string]any{"result": "c1"})
			say(map[string]any{"text": "heard " + prompt})
			break
		}
		select {}
	case "many":
		for i := range manyEvents / 4 {
			say(map[string]any{"text": fmt.Sprintf("step %d", i), "call": fmt.Sprintf("c%d", i)})
			say(map[string]any{"result": fmt.Sprintf("c%d", i)})
		}
		say(map[string]any{"text": "said"})
	case "circles": // as long as it may
		for i := 0; ; i++ {
			say(map[string]any{"call": fmt.Sprintf("c%d", i), "input": fmt.Sprint(i % 3)})
			say(map[string]any{"result": fmt.Sprintf("c%d", i)})
			if out.Flush() != nil {
				os.Exit(1)
			}
		}
	case "no-resume":
		say(map[string]any{"text": "said " + prompt})
	}
	say(map[string]any{"done": true})
	_ = out.Flush()
	if how == "lingers" {
		time.Sleep(time.Hour)
	}
	os.Exit(0)
}

// manyEvents is how many events the fake "many" makes, about.
const manyEvents = 100_000

// program is the Agent for the fake.
type program struct{ how string }

func (program) Program() cliagent.Program {
	return cliagent.Program{Name: "fake", Title: "Fake", Version: "1.2.3", Install: func(v string) (string, string, bool) { return "fake-agent@" + v, "bin/fake", true }}
}

func (program) Wires() []string { return []string{"anthropic"} }

func (p program) Launch(l *cliagent.Launch) (cliagent.Command, error) {
	return cliagent.Command{Args: []string{"run"}, Env: map[string]string{fakeName: p.how, "FAKE_HOME": l.State}, Stdin: []byte(l.Prompt.Text)}, nil
}

func (program) NewParser() cliagent.Parser { return parser{} }

func (program) Received(state, _ string, prompts []cliagent.Prompt) ([]bool, bool) {
	data, err := os.ReadFile(filepath.Join(state, "session"))
	var said []string
	if err != nil || json.Unmarshal(data, &said) != nil {
		return nil, false
	}
	m := cliagent.NewMatcher(prompts)
	for _, s := range said {
		m.Said(s)
	}
	return m.Received(), true
}

// parser reads what the fake says.
type parser struct{}

func (parser) Line(line []byte) []cliagent.Event {
	var r struct {
		Began, Text, Call, Input, Result string
		Done                             bool
	}
	if json.Unmarshal(line, &r) != nil {
		return nil
	}
	var out []cliagent.Event
	if r.Began != "" {
		out = append(out, cliagent.Began{NativeID: r.Began})
	}
	if r.Text != "" {
		out = append(out, cliagent.Text{Text: r.Text})
	}
	if r.Call != "" {
		out = append(out, cliagent.Called{ID: r.Call, Name: "tool", Input: fmt.Appendf(nil, `{"what":%q}`, cmp.Or(r.Input, r.Call))}, cliagent.TurnEnded{})
	}
	if r.Result != "" {
		out = append(out, cliagent.Returned{ID: r.Result, Content: "ok"})
	}
	if r.Done {
		out = append(out, cliagent.Finished{})
	}
	return out
}

func (parser) End() []cliagent.Event { return nil }
