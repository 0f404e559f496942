package oz

import (
	"context"
	"slices"
	"sync"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
)

// MaxParticipants bounds Presence.Participants.
const MaxParticipants = 100

// Presence says who follows a run now. It is not in the log: platforms on one
// store tell each other of their followers, within a second; those of one that
// was killed are forgotten within a minute.
type Presence struct {
	// Participants are those who came first, at most MaxParticipants; More counts
	// the others.
	Participants []Participant `json:"participants"`
	More         int           `json:"more"`
	// EditRequests counts the open requests to edit; nil for those who may not
	// decide them.
	EditRequests *int `json:"edit_requests,omitempty"`
}

// Participant is somebody who follows a run.
type Participant struct {
	Type        task.PrincipalType `json:"type"`
	UID         string             `json:"uid"`
	DisplayName string             `json:"display_name"`
	Role        task.ShareRole     `json:"role"`
	Streams     int                `json:"streams"`  // that are open
	Terminal    bool               `json:"terminal"` // has one open
}

// presences holds who follows each run. The zero value is ready.
type presences struct {
	told func(id task.ID, first bool) // that it changed; first: nobody was here before. nil for nobody to tell
	mu   sync.Mutex
	m    map[task.ID]*presence
	far  map[task.ID]map[string]*farCrowd // at other platforms, by their names
}

// presence is the participants of one run, in the order in which they came.
type presence struct {
	people  []*participant
	changed chan struct{} // closed at the next change
}

type participant struct {
	who       task.Principal
	editor    bool
	streams   int
	terminals int
}

// seat is a stream's place among those who follow a run.
type seat struct {
	all *presences
	id  task.ID
	who task.Principal
}

// sit counts a stream of somebody.
func (p *presences) sit(id task.ID, who task.Principal, editor bool) *seat {
	p.change(id, who, func(x *participant) { x.streams++; x.editor = editor })
	return &seat{all: p, id: id, who: who}
}

func (s *seat) rise() { s.all.change(s.id, s.who, func(x *participant) { x.streams-- }) }

// role tells what the participant may do from now on.
func (s *seat) role(editor bool) {
	s.all.change(s.id, s.who, func(x *participant) { x.editor = editor })
}

// terminal counts a terminal of somebody, or uncounts it.
func (p *presences) terminal(id task.ID, who task.Principal, n int) {
	p.change(id, who, func(x *participant) { x.terminals += n; x.editor = true })
}

// asked tells that the requests to edit a run have changed.
func (p *presences) asked(id task.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if run := p.m[id]; run != nil {
		run.signal()
	}
}

func (p *presences) change(id task.ID, who task.Principal, do func(*participant)) {
	if first, changed := p.changed(id, who, do); changed && p.told != nil {
		p.told(id, first)
	}
}

func (p *presences) changed(id task.ID, who task.Principal, do func(*participant)) (first, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := p.m[id]
	if first = run == nil; first {
		if p.m == nil {
			p.m = map[task.ID]*presence{}
		}
		run = &presence{changed: make(chan struct{})}
		p.m[id] = run
	}
	i := slices.IndexFunc(run.people, func(x *participant) bool { return x.who.Type == who.Type && x.who.UID == who.UID })
	if i < 0 {
		i = len(run.people)
		run.people = append(run.people, &participant{who: who})
	}
	x := run.people[i]
	before := *x
	if do(x); *x == before {
		return false, false
	}
	if x.streams <= 0 && x.terminals <= 0 {
		run.people = slices.Delete(run.people, i, i+1)
	}
	run.signal()
	if len(run.people) == 0 {
		delete(p.m, id)
	}
	return first, true
}

// signal wakes those who show it. presences.mu is held.
func (run *presence) signal() {
	close(run.changed)
	run.changed = make(chan struct{})
}

// look gives who is there, and what is closed at the next change; nil when
// nobody is here.
func (p *presences) look(id task.ID) (out Presence, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var people []*participant
	if run := p.m[id]; run != nil {
		people, changed = run.people, run.changed
	}
	out.Participants = []Participant{}
	for _, x := range p.withFar(id, people) {
		if len(out.Participants) == MaxParticipants {
			out.More++
			continue
		}
		role := task.RoleViewer
		if x.editor {
			role = task.RoleEditor
		}
		out.Participants = append(out.Participants, Participant{Type: x.who.Type, UID: x.who.UID, DisplayName: x.who.DisplayName,
			Role: role, Streams: x.streams, Terminal: x.terminals > 0})
	}
	return out, changed
}

// Presence tells who follows a run now.
func (c *Client) Presence(ctx context.Context, id task.ID) (Presence, error) {
	t, err := c.run(ctx, id, access.RunView)
	if err != nil {
		return Presence{}, err
	}
	p, _ := c.p.presences.look(id)
	return c.withRequests(ctx, t, p)
}

// withRequests adds the requests to edit for those who may decide them.
func (c *Client) withRequests(ctx context.Context, t task.Task, p Presence) (Presence, error) {
	if access.Allow(c.caller, access.RunShare, access.OfRun(t)) != nil {
		return p, nil
	}
	all, err := c.p.editRequests(ctx, t.ID)
	if err != nil {
		return Presence{}, err
	}
	open := 0
	for _, r := range all {
		if r.State == EditOpen {
			open++
		}
	}
	p.EditRequests = &open
	return p, nil
}

// participates reports that the caller counts as somebody who follows a run:
// neither the program itself does, nor a run's own runner.
func (c *Client) participates() bool { return !c.caller.System && c.caller.Execution == "" }

// Presence tells who follows the run now, and gives what is closed when that
// may have changed.
func (f *Follower) Presence(ctx context.Context) (Presence, <-chan struct{}, error) {
	p, changed := f.client.p.presences.look(f.id)
	t, err := f.client.p.store.Get(ctx, f.id)
	if err != nil {
		return Presence{}, nil, err
	}
	p, err = f.client.withRequests(ctx, t, p)
	return p, changed, err
}
