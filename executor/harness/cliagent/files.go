package cliagent

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
)

// maxStateLine bounds a line of a program's own files; longer ones are skipped.
const maxStateLine = 64 << 20

// EachLine calls do with every complete line of a file, for agents whose
// sessions are kept so. The line is valid during the call only. A last line
// without an end, which a kill has cut, is none.
func EachLine(path string, do func(line []byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	in := newLines(f, maxStateLine)
	for {
		line, dropped, err := in.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case dropped == 0:
			do(line)
		}
	}
}

// InDir gives the command of a server, started in its own directory if that is
// not dir, for programs that cannot start a server elsewhere than where they
// are themselves.
func InDir(m harness.MCPServer, dir string) []string {
	if m.Dir == "" || m.Dir == dir {
		return m.Command
	}
	return append([]string{"/bin/sh", "-c", `cd "$0" && exec "$@"`, m.Dir}, m.Command...)
}

// Matcher finds prompts again in what a native session says that the user said,
// for agents whose sessions do not keep the prompts' names.
type Matcher struct {
	prompts  []Prompt
	received []bool
	from     int // the first prompt that was not found yet
}

// NewMatcher looks for prompts, in the order they were sent.
func NewMatcher(prompts []Prompt) *Matcher {
	return &Matcher{prompts: prompts, received: make([]bool, len(prompts))}
}

// Said takes the next thing that the user said. It may hold several prompts.
func (m *Matcher) Said(text string) {
	for i := m.from; i < len(m.prompts); i++ {
		words := m.prompts[i].Words
		at := strings.Index(text, words)
		if words == "" || at < 0 {
			continue
		}
		m.received[i], m.from = true, i+1
		text = text[at+len(words):]
	}
}

// Received tells for each prompt whether it was found.
func (m *Matcher) Received() []bool { return m.received }
