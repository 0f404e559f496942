// Command speccheck reads the output of `go test -json` on its standard input,
// shows it as go test would, and holds SPECIFICATION.md against it: a promise
// whose test is missing, was skipped or failed fails the check.
//
//	go test -race -json ./... | go run ./internal/speccheck SPECIFICATION.md
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sort"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "speccheck:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("usage: go test -json ./... | speccheck SPECIFICATION.md")
	}
	spec, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	promised, err := promises(string(spec))
	if err != nil {
		return err
	}
	r := results{outcome: map[string]string{}, output: map[string][]string{}}
	if err := r.read(in, out); err != nil {
		return err
	}
	broken := r.check(promised)
	for _, b := range broken {
		fmt.Fprintln(out, "PROMISE", b)
	}
	fmt.Fprintf(out, "%d promises, %d not held\n%d passed, %d failed, %d skipped\n",
		len(promised), len(broken), r.passed, r.failed, r.skipped)
	if len(broken) > 0 || r.failed > 0 {
		return fmt.Errorf("%d tests or packages failed, %d promises are not held", r.failed, len(broken))
	}
	return nil
}

// module is what package paths in the test output begin with.
const module = "github.com/oz-platform/cloudagents/"

// promiseRE finds `path/of/package.TestName` in SPECIFICATION.md.
var promiseRE = regexp.MustCompile("`([a-z0-9/_-]+)\\.((?:Test|Fuzz|Example)[A-Za-z0-9_]+)`")

// promises lists the tests that the specification names, as "package.Test".
// Every line of a list must name at least one.
func promises(spec string) ([]string, error) {
	var names []string
	for i, item := range strings.Split(spec, "\n- ") {
		if i == 0 {
			continue
		}
		found := promiseRE.FindAllStringSubmatch(item, -1)
		if len(found) == 0 {
			return nil, fmt.Errorf("a promise names no test: %.80q", item)
		}
		for _, f := range found {
			names = append(names, f[1]+"."+f[2])
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the specification makes no promise")
	}
	sort.Strings(names)
	return names, nil
}

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
	ImportPath                    string
}

// results is what the tests did.
type results struct {
	outcome                 map[string]string   // "package.Test" -> pass, fail, skip
	output                  map[string][]string // of what runs
	passed, failed, skipped int
}

func (r *results) read(in io.Reader, out io.Writer) error {
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				_, _ = out.Write(line) // the go command's own words
			} else {
				r.take(e, out)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) take(e event, out io.Writer) {
	pkg := strings.TrimPrefix(e.Package, module)
	key := pkg + "." + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "pass", "fail", "skip":
		r.outcome[key] = e.Action
		r.count(e)
		r.show(e, key, out)
		delete(r.output, key)
	}
}

// count counts top-level tests, and packages that failed as a whole.
func (r *results) count(e event) {
	switch {
	case e.Test == "" && e.Action == "fail":
		r.failed++
	case e.Test == "" || strings.Contains(e.Test, "/"):
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed++
	case e.Action == "skip":
		r.skipped++
	}
}

// show prints what failed in full, and one line for each package.
func (r *results) show(e event, key string, out io.Writer) {
	if e.Action == "fail" || (e.Action == "skip" && e.Test != "") {
		for _, line := range r.output[key] {
			fmt.Fprint(out, line)
		}
	}
	if e.Test != "" {
		return
	}
	word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "?   "}[e.Action]
	fmt.Fprintf(out, "%s\t%s\t%.3fs\n", word, e.Package, e.Elapsed)
}

// check says for each promise why it does not hold.
func (r *results) check(promised []string) []string {
	var broken []string
	for _, name := range promised {
		switch r.outcome[name] {
		case "pass":
		case "":
			broken = append(broken, name+": no such test was run")
		default:
			broken = append(broken, name+": "+r.outcome[name])
		}
	}
	return broken
}
