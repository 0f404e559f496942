package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/laws"
)

// eventPage is how many events are read at once.
const eventPage = 1000

// awaitQuiet waits until no sandbox and no process of one is there any more.
func (r *rig) awaitQuiet(ctx context.Context, report *Report) {
	for {
		report.Checked[LawLeft] = 1
		left, dirs := r.sandboxProcesses(), r.sandboxDirs()
		if len(left) == 0 && len(dirs) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			report.violate(LawLeft, "", "processes %q, sandboxes %q", left, dirs)
			return
		case <-time.After(retryPause):
		}
	}
}

// sandboxProcesses are the processes of the rig besides the servers and the
// supervisors they keep in reserve.
func (r *rig) sandboxProcesses() []string {
	return slices.DeleteFunc(r.leftProcesses(), func(p string) bool {
		return strings.Contains(p, "--config") || strings.HasSuffix(p, " oz-sandbox-supervisor")
	})
}

// workspacePatience is an idle window, the time between two sweeps of it, and
// some.
var workspacePatience = time.Duration(idleMinutes)*time.Minute + 45*time.Second

// awaitWorkspaces waits until no workspace is left, or for so long that none
// may be.
func (r *rig) awaitWorkspaces(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, workspacePatience)
	defer cancel()
	for len(r.workspaceDirs()) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryPause):
		}
	}
}

// checker holds the laws against what is left when the servers have stopped.
type checker struct {
	rig    *rig
	people *people
	report *Report
	store  task.Store

	runs    map[task.ID]task.Task
	commits map[string]int // in the remote, by subject
	refs    map[string]int // pushes that arrived, by branch
}

func (c *checker) check(ctx context.Context) error {
	if err := c.readRuns(ctx); err != nil {
		return err
	}
	if err := c.readRemote(ctx); err != nil {
		return err
	}
	told := map[task.ID]bool{}
	for _, t := range c.people.tales {
		told[t.id] = true
		if err := c.checkTale(ctx, t); err != nil {
			return err
		}
	}
	for id := range c.runs {
		c.report.count(LawExtra)
		if !told[id] {
			c.report.violate(LawExtra, id, "nobody knows of this run")
		}
	}
	c.checkLeft()
	for _, problem := range c.rig.model.problems() {
		c.report.violate(LawModel, "", "%s", problem)
	}
	for _, s := range c.rig.servers {
		c.report.count(LawServer)
		c.report.Starts += s.starts
	}
	live, err := c.store.Live(ctx)
	for _, e := range live {
		c.report.violate(LawStuck, e.TaskID, "execution %s is %s", e.ID, e.State)
	}
	return err
}

func (c *checker) readRuns(ctx context.Context) error {
	c.runs = map[task.ID]task.Task{}
	q := task.Query{Sort: task.SortCreatedAt, Limit: task.MaxPageSize}
	for {
		page, err := c.store.List(ctx, q)
		if err != nil {
			return fmt.Errorf("list the runs: %w", err)
		}
		for _, t := range page.Tasks {
			c.runs[t.ID] = t
		}
		if page.Next == nil {
			return nil
		}
		q.After = page.Next
	}
}

// readRemote reads the commits and, from the reflogs, the pushes.
func (c *checker) readRemote(ctx context.Context) error {
	c.commits, c.refs = map[string]int{}, map[string]int{}
	out, err := git(ctx, c.rig.remote, "log", "--branches", "--format=%s")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		c.commits[strings.TrimSpace(line)]++
	}
	logs, err := filepath.Glob(filepath.Join(c.rig.remote, "logs", "refs", "heads", "chaos", "*"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c.refs["chaos/"+filepath.Base(path)] = strings.Count(string(text), "\n")
	}
	return nil
}

// checkTale holds a person's knowledge of a run against the record.
func (c *checker) checkTale(ctx context.Context, t *tale) error {
	if t.id == "" {
		return nil // its submit was never acknowledged
	}
	c.report.count(LawLost)
	run, ok := c.runs[t.id]
	if !ok {
		c.report.violate(LawLost, t.id, "story %d was acknowledged", t.story.number)
		return nil
	}
	c.report.Ends[string(t.story.kind)+" "+string(run.State)]++
	events, executions, err := c.record(ctx, run)
	if err != nil {
		return err
	}
	for _, l := range laws.All() {
		c.report.count(l)
	}
	c.report.Executions += len(executions)
	c.report.Events += int64(len(events))
	broken := len(c.report.Violations)
	c.report.Violations = append(c.report.Violations, laws.Check(laws.Record{Task: run, Executions: executions, Events: events})...)
	c.checkEnd(t, run)
	c.checkMessages(t, run, events)
	c.checkPushes(t, events)
	c.checkArtifacts(t, run)
	c.checkFollower(t, events)
	if len(c.report.Violations) > broken {
		return c.keep(run, executions, events)
	}
	return nil
}

// keep writes down the record of a run that broke a law: its store may be gone
// when somebody looks.
func (c *checker) keep(run task.Task, executions []task.Execution, events []task.Event) error {
	var b strings.Builder
	for _, v := range []any{run, executions} {
		line, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	for _, e := range events {
		line, err := e.MarshalJSON()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	return os.WriteFile(filepath.Join(c.rig.dir, "run-"+string(run.ID)+".ndjson"), []byte(b.String()), 0o600)
}

func (c *checker) record(ctx context.Context, run task.Task) ([]task.Event, []task.Execution, error) {
	executions, err := c.store.Executions(ctx, run.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("read the executions of %s: %w", run.ID, err)
	}
	var events []task.Event
	for {
		after := int64(0)
		if n := len(events); n > 0 {
			after = events[n-1].Seq
		}
		page, err := c.store.Events(ctx, run.ID, after, eventPage)
		if err != nil {
			return nil, nil, fmt.Errorf("read the events of %s: %w", run.ID, err)
		}
		if len(page) == 0 {
			return events, executions, nil
		}
		events = append(events, page...)
	}
}

func (c *checker) checkEnd(t *tale, run task.Task) {
	c.report.count(LawStuck)
	if !run.State.Ended() {
		c.report.violate(LawStuck, t.id, "the run is %s", run.State)
	}
	c.report.count(LawLeft)
	if run.SandboxRunning {
		c.report.violate(LawLeft, t.id, "the record says that a sandbox runs")
	}
	if t.story.kind == kindCancel {
		c.report.count(LawCancel)
		if t.cancelled && run.State != task.StateCancelled {
			c.report.violate(LawCancel, t.id, "cancelled and %s", run.State)
		}
	}
	c.report.count(LawRefused)
	for _, r := range t.refusals {
		c.report.violate(LawRefused, t.id, "%s", r)
	}
}

// checkMessages counts each message in the log and in the model's conversation.
func (c *checker) checkMessages(t *tale, run task.Task, events []task.Event) {
	logged := map[string]int{}
	for _, e := range events {
		if in, ok := e.Payload.(*task.Input); ok {
			logged[markPattern.FindString(in.Text)]++
		}
	}
	for _, m := range t.messages {
		mark := t.story.mark(m.number)
		n, seen := logged[mark], c.rig.model.seen(mark)
		c.report.count(LawMessage)
		if n > 1 || n == 0 && m.acked {
			c.report.violate(LawMessage, t.id, "message %s (acknowledged: %t) is in the log %d times", mark, m.acked, n)
		}
		c.report.count(LawPrompt)
		if seen > 1 {
			c.report.violate(LawPrompt, t.id, "message %s was in a conversation with the model %d times", mark, seen)
		}
		if seen == 0 && n > 0 && run.State == task.StateSucceeded {
			c.report.violate(LawPrompt, t.id, "message %s was never given to the model of a run that succeeded", mark)
		}
	}
}

// succeeded reports whether the work that a message set off was said to be a
// success. What ended honestly without one does not become one by what a later
// message achieves.
func succeeded(events []task.Event, mark string) bool {
	asked := false
	for _, e := range events {
		switch p := e.Payload.(type) {
		case *task.Input:
			asked = asked || strings.Contains(p.Text, mark)
		case *task.StateChanged:
			if asked && p.To.Ended() {
				return p.To == task.StateSucceeded
			}
		}
	}
	return false
}

// checkPushes compares what the run did with what the remote has.
func (c *checker) checkPushes(t *tale, events []task.Event) {
	if t.story.kind != kindPush {
		return
	}
	for _, m := range t.messages {
		branch, subject := t.story.branch(m.number), t.story.subject(m.number)
		c.report.count(LawPush)
		if c.refs[branch] > 1 {
			c.report.violate(LawPush, t.id, "branch %s was pushed %d times", branch, c.refs[branch])
		}
		if c.commits[subject] > 1 {
			c.report.violate(LawPush, t.id, "the remote has %d commits %q", c.commits[subject], subject)
		}
		seen := c.rig.model.seen(t.story.mark(m.number)) > 0
		if seen && c.refs[branch] == 0 && succeeded(events, t.story.mark(m.number)) {
			c.report.violate(LawPush, t.id, "the run succeeded and branch %s has not arrived", branch)
		}
	}
	for _, e := range events {
		p, ok := e.Payload.(*task.Effect)
		if ok && p.State == task.EffectSettled && !c.arrived(p.Key) {
			c.report.violate(LawPush, t.id, "%s is settled and not on the remote", p.Key)
		}
	}
}

// arrived reports that the remote has the branch which an effect's key names.
func (c *checker) arrived(key string) bool {
	parts := strings.Split(key, ":") // push:repository:branch:commit
	return len(parts) == 4 && c.refs[parts[2]] > 0
}

func (c *checker) checkArtifacts(t *tale, run task.Task) {
	files, branches := map[string]int{}, map[string]int{}
	for _, a := range run.Artifacts {
		switch a.Type {
		case task.ArtifactFile:
			files[a.Path]++
		case task.ArtifactReference:
			branches[a.Title]++
		}
	}
	for _, m := range t.messages {
		c.report.count(LawArtifact)
		file, branch := files[t.story.path(m.number)], branches[t.story.branch(m.number)]
		if file > 1 || branch > 1 {
			c.report.violate(LawArtifact, t.id, "message %d has %d files and %d branches", m.number, file, branch)
		}
		seen := c.rig.model.seen(t.story.mark(m.number)) > 0
		if seen && t.story.kind == kindPush && run.State == task.StateSucceeded && (t.story.file && file == 0) {
			c.report.violate(LawArtifact, t.id, "the run succeeded and the file of message %d is missing", m.number)
		}
	}
}

// checkFollower checks that who followed the run has seen how it ended.
func (c *checker) checkFollower(t *tale, events []task.Event) {
	c.report.count(LawFollower)
	for _, gap := range t.gaps {
		c.report.violate(LawFollower, t.id, "%s", gap)
	}
	end := int64(0)
	for _, e := range events {
		if s, ok := e.Payload.(*task.StateChanged); ok && s.To.Ended() {
			end = e.Seq
		}
	}
	if t.followed < end && !t.wentInTime(events) {
		c.report.violate(LawFollower, t.id, "the follower has seen %d events, the run ended with %d", t.followed, end)
	}
}

// wentInTime reports that the follower had seen the run end, and that what
// began it again is a message whose answer was lost: it may have arrived when
// nobody looked for it any more.
func (t *tale) wentInTime(events []task.Event) bool {
	if t.followed < 1 || t.followed >= int64(len(events)) {
		return false
	}
	last, ok := events[t.followed-1].Payload.(*task.StateChanged)
	if !ok || !last.To.Ended() {
		return false
	}
	next, ok := events[t.followed].Payload.(*task.Input)
	return ok && slices.ContainsFunc(t.messages, func(m message) bool {
		return !m.acked && markPattern.FindString(next.Text) == t.story.mark(m.number)
	})
}

// checkLeft looks for what the servers have left behind at their end.
func (c *checker) checkLeft() {
	c.report.count(LawLeft)
	if left := c.rig.leftProcesses(); len(left) > 0 {
		c.report.violate(LawLeft, "", "processes after the servers' end: %q", left)
	}
	for _, dir := range c.rig.workspaceDirs() {
		c.report.count(LawLeft)
		run, ok := c.runs[task.ID(filepath.Base(dir))]
		over := time.Since(run.UpdatedAt)
		if !ok || over > workspacePatience {
			c.report.violate(LawLeft, task.ID(filepath.Base(dir)), "workspace %s", dir)
		}
	}
}
