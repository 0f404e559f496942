package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/internal/version"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

func (a *app) sessionCommand() *cobra.Command {
	return group("session", "Take part in a run from a terminal", nil, a.sessionAttachCommand())
}

func (a *app) sessionAttachCommand() *cobra.Command {
	return &cobra.Command{
		Use: "attach <RUN_ID | LINK>", Short: "Follow a run with others, and steer it by what you type", Args: oneArg("run id"),
		Long: `Show what a run does, and who else follows it, until it ends. A line that you
type is a message to the agent: it is taken up at once. A lost connection is
made again where it stopped. Lines that begin with a slash:

  /answer WORDS     answer the question that the run waits with
  /approve [WORDS]  approve its plan
  /cancel           stop it
  /terminal         take over in a terminal of its sandbox; Ctrl-] leaves
  /edit [WORDS]     ask its owner to let you edit
  /who              show who follows it
  /quit             leave; the run goes on
  //WORDS           a message that begins with a slash

The address of a run's page may stand for its id, with the link in it that you
were given.`,
		Example: "  oz session attach RUN_ID\n  oz session attach 'https://oz.example.com/runs/RUN_ID#link=ozl_...'",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, link, err := a.sessionTarget(args[0])
			if err != nil {
				return usageError{err}
			}
			c, err := a.participant(link)
			if err != nil {
				return err
			}
			return a.attach(cmd.Context(), c, id)
		},
	}
}

// sessionTarget reads a run's id, or the address of its page. A key for another
// server than that of the address is not used.
func (a *app) sessionTarget(s string) (id task.ID, link string, err error) {
	if !strings.Contains(s, "://") {
		return task.ID(s), "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return "", "", errors.New("this is neither a run's id nor the address of its page")
	}
	base, run, ok := strings.Cut(u.EscapedPath(), "/runs/")
	if run, err = url.PathUnescape(strings.Trim(run, "/")); !ok || err != nil || run == "" || strings.Contains(run, "/") {
		return "", "", errors.New("this is not the address of a run's page: it must be like https://server/runs/RUN_ID")
	}
	if server := u.Scheme + "://" + u.Host + base; server != a.server {
		a.server, a.apiKey, a.keyFrom = server, "", ""
		if k := a.kept.Keys[server].Key; k != "" {
			a.apiKey, a.keyFrom = k, "'oz login'"
		}
	}
	fragment, err := url.ParseQuery(u.Fragment)
	if err != nil {
		return task.ID(run), "", nil
	}
	return task.ID(run), fragment.Get("link"), nil
}

// participant signs in, with a key, a link or both.
func (a *app) participant(link string) (*client.Client, error) {
	if link == "" {
		return a.client()
	}
	return client.New(a.server, &client.Options{APIKey: a.apiKey, Link: link, UserAgent: "oz-cli/" + version.Number, HTTPClient: a.carrier()})
}

const (
	maxTyped    = 64 << 10        // bytes of a line
	sessionLook = 2 * time.Second // whether a run that has ended was taken on
)

// session is a person who takes part in a run.
type session struct {
	a   *app
	c   *client.Client
	id  task.ID
	v   viewer
	in  <-chan []byte // what is typed
	now oz.Presence
	// seen is the last event that was shown.
	seen int64

	screen sync.Mutex // whoever writes; a terminal has it for as long as it is open
}

// attach shows a run until it ends or the person leaves.
func (a *app) attach(ctx context.Context, c *client.Client, id task.ID) error {
	rights, err := c.Rights(ctx, id) // watching tries for ever: a wrong address or id is found out before
	if err != nil {
		return err
	}
	a.wire.follow(true)
	defer a.wire.follow(false)
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	s := &session{a: a, c: c, id: id, v: a.viewer(), in: typing(a.in)}
	if !a.json() {
		a.say("You are here as %s. Type to the agent; /quit leaves, /terminal takes over, 'oz session attach --help' tells more.", rights.Role)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.watch(ctx) }()
	typed, rest := s.in, ""
	for {
		select {
		case err := <-ended:
			return err
		case chunk, ok := <-typed:
			if !ok { // a script that has said all it has to say
				typed, chunk = nil, []byte("\n")
			}
			var err error
			if rest, err = s.lines(ctx, rest+string(chunk)); err != nil {
				leave()
				<-ended
				a.say("The run goes on. Come back with 'oz session attach %s'.", id)
				return nil
			}
		}
	}
}

// lines does what whole lines say and gives the rest, of a line that is too long
// no more than shows that. It fails with errQuit.
func (s *session) lines(ctx context.Context, text string) (rest string, err error) {
	for {
		line, after, ok := strings.Cut(text, "\n")
		if !ok {
			return text[:min(len(text), maxTyped+1)], nil
		}
		if text = after; len(line) > maxTyped {
			s.tell("oz: a line has at most %d bytes", maxTyped)
			continue
		}
		switch err := s.do(ctx, line); {
		case errors.Is(err, errQuit):
			return "", err
		case err != nil && ctx.Err() == nil:
			s.tell("oz: %v", err)
		}
	}
}

// watch shows the log and who follows it. For a person it goes on after the
// run's end, which a message may take on; a script has the outcome then.
func (s *session) watch(ctx context.Context) error {
	told := task.State("")
	for {
		for e, err := range s.c.WatchWith(ctx, s.id, s.seen, s.presence) {
			if err != nil {
				return err
			}
			s.seen = e.Seq
			s.screen.Lock()
			s.v.Event(e)
			err = s.v.Err()
			s.screen.Unlock()
			if err != nil {
				return err
			}
		}
		t, err := s.c.Get(ctx, s.id)
		if err != nil {
			return err
		}
		if _, seated := s.a.terminal(); !seated {
			return verdict(t)
		}
		if t.State.Ended() && t.State != told {
			s.tell("The run is %s. A message takes it on; /quit leaves.", t.State)
		}
		if told = t.State; !t.State.Ended() {
			told = ""
		}
		select {
		case <-time.After(sessionLook):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// presence tells who has come and who has gone.
func (s *session) presence(p oz.Presence) {
	s.screen.Lock()
	defer s.screen.Unlock()
	before := s.now
	s.now = p
	if s.a.json() || before.Participants == nil {
		return
	}
	for _, x := range p.Participants {
		if i := placeOf(before, x); i < 0 {
			fmt.Fprintf(s.a.err, "+ %s is here (%s)\n", named(x), x.Role)
		} else if old := before.Participants[i]; x.Terminal != old.Terminal {
			fmt.Fprintf(s.a.err, "  %s %s\n", named(x), map[bool]string{true: "has taken over in a terminal", false: "has left the terminal"}[x.Terminal])
		}
	}
	for _, x := range before.Participants {
		if placeOf(p, x) < 0 {
			fmt.Fprintf(s.a.err, "- %s has left\n", named(x))
		}
	}
	if p.EditRequests != nil && *p.EditRequests > 0 && (before.EditRequests == nil || *before.EditRequests < *p.EditRequests) {
		fmt.Fprintf(s.a.err, "? somebody asks to edit: see 'oz run edit list %s'\n", s.id)
	}
}

// placeOf finds a participant.
func placeOf(p oz.Presence, x oz.Participant) int {
	return slices.IndexFunc(p.Participants, func(y oz.Participant) bool { return x.Type == y.Type && x.UID == y.UID })
}

// named is a participant for people. Names are others' words.
func named(x oz.Participant) string {
	if name := console.CleanText(x.DisplayName); name != "" {
		return name
	}
	return console.CleanText(x.UID)
}

func (s *session) tell(format string, args ...any) {
	s.screen.Lock()
	defer s.screen.Unlock()
	fmt.Fprintf(s.a.err, format+"\n", args...)
}

// errQuit leaves.
var errQuit = errors.New("quit")

// do does what a line says.
func (s *session) do(ctx context.Context, line string) error {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(line, "//"):
		return s.c.FollowUp(ctx, s.id, oz.Message{Text: line[1:]})
	case !strings.HasPrefix(line, "/"):
		return s.c.FollowUp(ctx, s.id, oz.Message{Text: line})
	}
	command, words, _ := strings.Cut(line[1:], " ")
	words = strings.TrimSpace(words)
	switch command {
	case "answer":
		return s.answer(ctx, words)
	case "approve":
		return s.approve(ctx, words)
	case "cancel":
		return s.c.Cancel(ctx, s.id)
	case "terminal":
		return s.terminal(ctx)
	case "edit":
		if _, err := s.c.RequestEdit(ctx, s.id, words); err != nil {
			return err
		}
		s.tell("Asked. You are told here when the run is shared with you.")
		return nil
	case "who":
		s.who()
		return nil
	case "quit", "q":
		return errQuit
	}
	return fmt.Errorf("there is no /%s; 'oz session attach --help' lists what there is, and // begins a message with a slash", console.CleanText(command))
}

// answer takes words that are one of the choices as that one.
func (s *session) answer(ctx context.Context, words string) error {
	if words == "" {
		return errors.New("/answer needs words, or one of the choices")
	}
	t, err := s.c.Get(ctx, s.id)
	if err != nil {
		return err
	}
	in := oz.Answer{Text: words}
	if q := t.Open(); q != nil {
		in.QuestionID = q.ID
		if slices.Contains(q.Choices, words) {
			in.Choice, in.Text = words, ""
		}
	}
	return s.c.Answer(ctx, s.id, in)
}

// approve approves the call that the run waits with, or else its plan.
func (s *session) approve(ctx context.Context, words string) error {
	t, err := s.c.Get(ctx, s.id)
	if err != nil {
		return err
	}
	if q := t.Open(); q != nil && q.Kind == task.QuestionApproval && slices.Contains(q.Choices, task.ChoiceApprove) {
		return s.c.Answer(ctx, s.id, oz.Answer{QuestionID: q.ID, Choice: task.ChoiceApprove, Text: words})
	}
	return s.c.Approve(ctx, s.id, oz.Approval{Text: words})
}

func (s *session) who() {
	s.screen.Lock()
	defer s.screen.Unlock()
	for _, x := range s.now.Participants {
		fmt.Fprintf(s.a.err, "  %s (%s)\n", named(x), x.Role)
	}
	if s.now.More > 0 {
		fmt.Fprintf(s.a.err, "  and %d others\n", s.now.More)
	}
}

// typing reads standard input all the time, so that lines and the keys of a
// terminal can come from it in turn. A read of a terminal cannot be taken back:
// the goroutine ends with the program.
func typing(in io.Reader) <-chan []byte {
	chunks := make(chan []byte)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 4096)
			n, err := in.Read(buf)
			if n > 0 {
				chunks <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return chunks
}
