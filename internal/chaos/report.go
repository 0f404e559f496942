package chaos

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

// Law names what must hold. The laws of one run's record are in package laws.
type Law = laws.Law

// The laws beyond one run's record.
const (
	// LawLost: each run whose submit was acknowledged is there.
	LawLost Law = "runs lost"
	// LawExtra: no run is there that nobody submitted.
	LawExtra Law = "runs doubled"
	// LawMessage: each message that was acknowledged is in the log once, and
	// one whose answer was lost at most once.
	LawMessage Law = "messages lost or doubled"
	// LawPrompt: no text of a person stands twice in a conversation with the
	// model; and one in a run that succeeded stands there once.
	LawPrompt Law = "prompts lost or delivered twice"
	// LawPush: each branch was pushed once, with one commit for each message.
	LawPush Law = "pushes lost or doubled"
	// LawArtifact: each file was handed over once, whole.
	LawArtifact Law = "artifacts lost or doubled"
	// LawFollower: who follows a run sees each event once, to the end.
	LawFollower Law = "gaps seen by followers"
	// LawCancel: a cancel that was acknowledged stays.
	LawCancel Law = "cancels lost"
	// LawStuck: when all is quiet, each run has ended and no execution is live.
	LawStuck Law = "not ended after quiet"
	// LawLeft: no process, sandbox or workspace is left over.
	LawLeft Law = "left over"
	// LawRefused: nobody was refused what is right.
	LawRefused Law = "wrongly refused"
	// LawModel: no request to the model was invalid.
	LawModel Law = "invalid model requests"
	// LawServer: no server ended by itself or with an error.
	LawServer Law = "servers that failed"
)

// allLaws is the order of the table.
func allLaws() []Law {
	return append([]Law{LawLost, LawExtra, LawMessage, LawPrompt, LawPush, LawArtifact, LawFollower, LawCancel, LawStuck,
		LawLeft, LawRefused, LawModel, LawServer}, laws.All()...)
}

// Report is the outcome of a Run.
type Report struct {
	Seed     uint64
	Store    string
	Replicas int
	// Faults counts those that struck, by kind.
	Faults map[string]int
	// Checked counts what each law was held against.
	Checked map[Law]int
	// Ends counts the runs by kind of story and last state.
	Ends map[string]int
	// Violations is what broke a law.
	Violations []laws.Violation
	// Starts is how often a server was started, Executions how many there were.
	Starts, Executions int
	// Events is how many events the logs have.
	Events int64
	Took   time.Duration
	// Dir has the servers' data and output, when a law was broken.
	Dir string
}

func newReport(c Config) *Report {
	return &Report{Seed: c.Seed, Store: c.Store.Name(), Replicas: c.Replicas,
		Checked: map[Law]int{}, Ends: map[string]int{}}
}

func (r *Report) count(l Law) { r.Checked[l]++ }

func (r *Report) violate(l Law, run task.ID, format string, args ...any) {
	r.Violations = append(r.Violations, laws.Violation{Law: l, Run: run, Detail: fmt.Sprintf(format, args...)})
}

// broken counts the violations of a law.
func (r *Report) broken(l Law) int {
	n := 0
	for _, v := range r.Violations {
		if v.Law == l {
			n++
		}
	}
	return n
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) {
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	fmt.Fprintf(w, "seed %d, store %s, %d server(s), %d faults, %s\n\n", r.Seed, r.Store, r.Replicas, total, r.Took.Round(time.Second))
	fmt.Fprintf(w, "%-34s %8s %8s\n", "law", "checked", "broken")
	for _, l := range allLaws() {
		fmt.Fprintf(w, "%-34s %8d %8d\n", l, r.Checked[l], r.broken(l))
	}
	fmt.Fprintf(w, "\n%d executions, %d events, %d starts of servers\n", r.Executions, r.Events, r.Starts)
	fmt.Fprintf(w, "runs:   %s\nfaults: %s\n", pairs(r.Ends), pairs(r.Faults))
	for _, v := range r.Violations {
		fmt.Fprintf(w, "\nBROKEN %s", v)
	}
	if len(r.Violations) > 0 {
		fmt.Fprintf(w, "\n\nData and output are in %s. To repeat: make chaos SEED=%d N=%d STORE=%s\n", r.Dir, r.Seed, total, r.Store)
	}
}

func pairs(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

func (r *Report) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	r.Print(f)
	return f.Close()
}
