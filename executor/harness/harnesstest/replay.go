package harnesstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"github.com/oz-platform/cloudagents/executor/harness/cliagent"
)

// Replay gives captured output of a program (testdata/*.jsonl) to its parser,
// and compares the events with testdata/*.golden.
func Replay(t *testing.T, a cliagent.Agent) {
	files, err := filepath.Glob("testdata/*.jsonl")
	assert.NilError(t, err)
	assert.Assert(t, len(files) > 0)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			assert.NilError(t, err)
			golden.Assert(t, described(events(a.NewParser(), data)), name+".golden")
		})
	}
}

// Fuzz gives any output to a program's parser: it must neither panic nor make
// events that cannot be written. The captured output is where it begins.
func Fuzz(f *testing.F, a cliagent.Agent) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, e := range events(a.NewParser(), data) {
			switch e := e.(type) {
			case nil:
				t.Error("no event")
			case cliagent.Finished:
				if e.Failure != nil && e.Failure.Message == "" {
					t.Error("a failure without a word")
				}
			}
		}
	})
}

// Bench measures what a program's parser adds to each record of the captured
// output (ns/event; beside it cliagent's own way into the log, BenchmarkStream).
func Bench(b *testing.B, a cliagent.Agent) {
	files, err := filepath.Glob("testdata/*.jsonl")
	assert.NilError(b, err)
	var outputs [][]byte
	records := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		assert.NilError(b, err)
		outputs, records = append(outputs, data), records+bytes.Count(data, []byte("\n"))
	}
	assert.Assert(b, records > 0)
	b.ReportAllocs()
	for b.Loop() {
		for _, data := range outputs {
			events(a.NewParser(), data)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/event")
}

func events(p cliagent.Parser, data []byte) []cliagent.Event {
	var out []cliagent.Event
	for line := range bytes.Lines(data) {
		out = append(out, p.Line(bytes.TrimSuffix(line, []byte("\n")))...)
	}
	return append(out, p.End()...)
}

// described is one line for each event.
func described(all []cliagent.Event) string {
	var b strings.Builder
	for _, e := range all {
		switch e := e.(type) {
		case cliagent.Called:
			fmt.Fprintf(&b, "Called %s %s %s %s\n", e.ID, e.Name, e.Category, e.Input)
		case cliagent.Finished:
			if e.Failure != nil {
				fmt.Fprintf(&b, "Finished failure %+v\n", *e.Failure)
				continue
			}
			fmt.Fprintf(&b, "%T %+v\n", e, e)
		default:
			fmt.Fprintf(&b, "%T %+v\n", e, e)
		}
	}
	return strings.ReplaceAll(b.String(), "cliagent.", "")
}
