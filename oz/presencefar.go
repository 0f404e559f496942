package oz

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// maxFarName bounds a name as other platforms are told it, in bytes.
const maxFarName = 200

// farPerson is a participant as other platforms are told.
type farPerson struct {
	Type      task.PrincipalType `json:"t"`
	UID       string             `json:"u"`
	Name      string             `json:"n,omitempty"`
	Editor    bool               `json:"e,omitempty"`
	Streams   int                `json:"s,omitempty"`
	Terminals int                `json:"x,omitempty"`
}

// farCrowd is who follows a run at another platform.
type farCrowd struct {
	people []farPerson
	coming []farPerson // of those that are being told
	until  time.Time   // unless it is told again
}

// followed are the runs that somebody follows here.
func (p *presences) followed() []task.ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.m))
}

// local gives who follows a run here: as many as are shown.
func (p *presences) local(id task.ID) (people []farPerson) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := p.m[id]
	if run == nil {
		return nil
	}
	for _, x := range run.people[:min(len(run.people), MaxParticipants+1)] { // one more, so that the others know of more
		name := x.who.DisplayName
		people = append(people, farPerson{Type: x.who.Type, UID: x.who.UID, Name: strings.ToValidUTF8(name[:min(len(name), maxFarName)], ""),
			Editor: x.editor, Streams: x.streams, Terminals: x.terminals})
	}
	return people
}

// crowdWords tells of people in as many words as it takes.
func crowdWords(id task.ID, people []farPerson) (words []farWord) {
	w, size := farWord{Kind: farPeople, Run: id}, 0
	for _, x := range people {
		text, _ := json.Marshal(x) // strings and numbers cannot fail
		if len(text) > farData {
			continue
		}
		if size += len(text) + 1; size > farData {
			w.More = true
			words = append(words, w)
			w, size = farWord{Kind: farPeople, Run: id, Number: w.Number + 1}, len(text)
		}
		w.People = append(w.People, x)
	}
	return append(words, w)
}

// hear takes who follows a run at another platform.
func (p *presences) hear(w farWord, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.far[w.Run][w.From]
	if old == nil {
		old = &farCrowd{}
	}
	people := w.People
	if w.Number > 0 {
		people = append(slices.Clip(old.coming), people...)
	}
	switch {
	case len(people) > MaxParticipants+1: // more than anybody tells
	case w.More:
		p.setFar(w.Run, w.From, &farCrowd{people: old.people, coming: people, until: until}, false)
	default:
		p.setFar(w.Run, w.From, &farCrowd{people: people, until: until}, !slices.Equal(old.people, people))
	}
}

// setFar replaces what is known of another platform. p.mu is held.
func (p *presences) setFar(id task.ID, from string, crowd *farCrowd, changed bool) {
	crowds := p.far[id]
	if len(crowd.people)+len(crowd.coming) == 0 {
		if delete(crowds, from); len(crowds) == 0 {
			delete(p.far, id)
		}
	} else {
		if crowds == nil {
			if p.far == nil {
				p.far = map[task.ID]map[string]*farCrowd{}
			}
			crowds = map[string]*farCrowd{}
			p.far[id] = crowds
		}
		crowds[from] = crowd
	}
	if run := p.m[id]; run != nil && changed {
		run.signal()
	}
}

// expire forgets the crowds of platforms that tell nothing any more.
func (p *presences) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, crowds := range p.far {
		for from, crowd := range crowds {
			if !now.Before(crowd.until) {
				p.setFar(id, from, &farCrowd{}, true)
			}
		}
	}
}

// withFar adds those at other platforms to people, which stays as it is. p.mu is
// held.
func (p *presences) withFar(id task.ID, people []*participant) []*participant {
	crowds := p.far[id]
	if len(crowds) == 0 {
		return people
	}
	all := make([]*participant, len(people))
	for i, x := range people {
		here := *x
		all[i] = &here
	}
	for _, from := range slices.Sorted(maps.Keys(crowds)) {
		for _, far := range crowds[from].people {
			i := slices.IndexFunc(all, func(x *participant) bool { return x.who.Type == far.Type && x.who.UID == far.UID })
			if i < 0 {
				i = len(all)
				all = append(all, &participant{who: task.Principal{Type: far.Type, UID: far.UID, DisplayName: far.Name}})
			}
			all[i].streams += far.Streams
			all[i].terminals += far.Terminals
			all[i].editor = all[i].editor || far.Editor
		}
	}
	return all
}
