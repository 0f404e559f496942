package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// people are those who use the system, and what they know of it.
type people struct {
	rig *rig

	mu    sync.Mutex
	tales []*tale
}

// tale is a story as it went, as the person knows it.
type tale struct {
	story *story
	id    task.ID // once the submit was acknowledged

	mu        sync.Mutex
	messages  []message
	cancelled bool  // a cancel was acknowledged
	followed  int64 // number of the last event seen, all before it included
	gaps      []string
	refusals  []string // what the server refused although it was right
}

// message is one that was sent to a run.
type message struct {
	number int
	acked  bool // the server said yes; else it may have arrived or not
}

func (r *rig) people() *people { return &people{rig: r} }

// work lets people work, each with one run after the other, until enough is
// closed and what was begun is done.
func (p *people) work(ctx context.Context, enough <-chan struct{}) error {
	g, ctx := errgroup.WithContext(ctx)
	for range p.rig.config.People {
		g.Go(func() error {
			for {
				select {
				case <-enough:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				default:
				}
				if err := p.tell(ctx, p.newTale()); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (p *people) newTale() *tale {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &tale{story: newStory(p.rig.config.Seed, len(p.tales)+1)}
	p.tales = append(p.tales, t)
	return t
}

// tell is one person's life with one run.
func (p *people) tell(ctx context.Context, t *tale) error {
	defer p.rig.model.forget(t.story.number)
	if err := p.submit(ctx, t); err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { p.disturb(beside, t) })
	err := p.follow(ctx, t)
	stop()
	group.Wait()
	for range t.story.follows {
		if err != nil || !p.pause(ctx, t.story.pause/4) {
			break
		}
		p.say(ctx, t)
		err = p.follow(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("story %d, run %s: %w", t.story.number, t.id, err)
	}
	return nil
}

func (p *people) submit(ctx context.Context, t *tale) error {
	err := p.rig.insist(ctx, func() error {
		run, err := p.rig.client.Submit(ctx, p.rig.request(t.story))
		if err == nil && t.id != "" && t.id != run.ID {
			return fmt.Errorf("one request made two runs, %s and %s", t.id, run.ID)
		}
		if err == nil {
			t.id = run.ID
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("submit story %d: %w", t.story.number, err)
	}
	t.messages = append(t.messages, message{0, true})
	return nil
}

// disturb steers the run, or cancels it, while it works.
func (p *people) disturb(ctx context.Context, t *tale) {
	for range t.story.steers {
		if !p.pause(ctx, t.story.pause) {
			return
		}
		p.say(ctx, t)
	}
	if t.story.kind == kindCancel && p.pause(ctx, t.story.pause) {
		p.cancel(ctx, t)
	}
}

func (p *people) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// say sends one message. It is sent once only: when the answer is lost, nobody
// knows whether it arrived.
func (p *people) say(ctx context.Context, t *tale) {
	t.mu.Lock()
	number := len(t.messages)
	t.messages = append(t.messages, message{number: number})
	t.mu.Unlock()
	err := p.rig.client.FollowUp(ctx, t.id, oz.Message{Text: t.story.text(number)})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages[number].acked = err == nil
	if err != nil && refusal(err) && ctx.Err() == nil {
		t.refusals = append(t.refusals, fmt.Sprintf("message %d: %v", number, err))
	}
}

// cancel insists until the run has ended.
func (p *people) cancel(ctx context.Context, t *tale) {
	for ctx.Err() == nil {
		err := p.rig.client.Cancel(ctx, t.id)
		if err == nil {
			t.mu.Lock()
			t.cancelled = true
			t.mu.Unlock()
			return
		}
		if run, err := p.rig.client.Get(ctx, t.id); err == nil && run.State.Ended() {
			return
		}
		p.pause(ctx, retryPause)
	}
}

// follow reads the run's events as they come until it has ended, over broken
// connections.
func (p *people) follow(ctx context.Context, t *tale) error {
	return p.rig.insist(ctx, func() error {
		for e, err := range p.rig.client.Watch(ctx, t.id, t.followed) {
			if err != nil {
				return err
			}
			if e.Seq != t.followed+1 {
				t.gaps = append(t.gaps, fmt.Sprintf("a follower saw event %d after %d", e.Seq, t.followed))
			}
			t.followed = e.Seq
		}
		run, err := p.rig.client.Get(ctx, t.id)
		if err == nil && !run.State.Ended() {
			return errors.New("not ended yet")
		}
		return err
	})
}

// checkFiles fetches the files that the runs have handed over.
func (p *people) checkFiles(ctx context.Context, report *Report) {
	for _, t := range p.tales {
		if t.id == "" {
			continue
		}
		run, err := p.rig.client.Get(ctx, t.id)
		if err != nil {
			continue // the checker finds out
		}
		for _, a := range run.Artifacts {
			if a.Type != task.ArtifactFile {
				continue
			}
			report.count(LawArtifact)
			var text bytes.Buffer
			if err := p.rig.client.Download(ctx, a.UID, &text); err != nil {
				report.violate(LawArtifact, t.id, "artifact %s: %v", a.UID, err)
				continue
			}
			want := false
			for k := range t.messages {
				want = want || text.String() == t.story.content(k)
			}
			if !want {
				report.violate(LawArtifact, t.id, "artifact %s has the content %.80q", a.UID, text.String())
			}
		}
	}
}
