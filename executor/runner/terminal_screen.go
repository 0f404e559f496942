package runner

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// When what a terminal prints is passed on.
const (
	// screenQuiet is how long what may be the begin of a secret is kept from the
	// person's screen when nothing follows: a prompt must not wait.
	screenQuiet = 40 * time.Millisecond
	// tapeQuietTime is the same for the log, which can wait: a secret that somebody
	// types is echoed letter by letter.
	tapeQuietTime = time.Second
	// tapeInterval is how often what was printed is logged, tapeBytes how much at
	// once.
	tapeInterval = 200 * time.Millisecond
	tapeBytes    = 16 << 10
	// drainTime is for what a shell that has ended has left behind.
	drainTime = 100 * time.Millisecond
)

// screen redacts what is printed.
type screen struct {
	redactor *secrets.Redactor
	to       writerFunc
	w        *secrets.RedactWriter
}

type writerFunc func([]byte) error

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func newScreen(r *secrets.Redactor, to writerFunc) *screen {
	return &screen{redactor: r, to: to, w: r.Writer(to)}
}

func (s *screen) write(p []byte) error {
	_, err := s.w.Write(p)
	return err
}

// settle passes on what was held back.
func (s *screen) settle() error {
	err := s.w.Close()
	s.w = s.redactor.Writer(s.to)
	return err
}

// tape keeps what a terminal shows in the run's log. Its methods are called
// within execution.logging, or by what reports the outcome.
type tape struct {
	screen *screen
	id     string
	record func(task.Payload) error
	buf    []byte
}

func newTape(ctx context.Context, t *terminal) *tape {
	// The last words are to be kept although ctx has ended.
	ctx = context.WithoutCancel(ctx)
	k := &tape{id: t.id, record: func(p task.Payload) error { return t.x.journal.Post(ctx, p) }}
	k.screen = newScreen(t.x.redactor, k.take)
	return k
}

func (k *tape) take(p []byte) error {
	k.buf = append(k.buf, p...)
	if len(k.buf) < tapeBytes {
		return nil
	}
	return k.post(false)
}

// post logs what is there, but for the begin of a letter whose end may follow.
func (k *tape) post(all bool) error {
	n := len(k.buf)
	if !all {
		n = wholeRunes(k.buf)
	}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(k.buf[:n]), "\uFFFD"), "\x00", "")
	k.buf = append(k.buf[:0], k.buf[n:]...)
	if text == "" {
		return nil
	}
	return k.record(&task.TerminalOutput{ID: k.id, Text: text})
}

// end logs all that was held back.
func (k *tape) end() error {
	if err := k.screen.settle(); err != nil {
		return err
	}
	return k.post(true)
}

// wholeRunes is how much of b does not end within a letter.
func wholeRunes(b []byte) int {
	for i := 1; i <= min(utf8.UTFMax-1, len(b)); i++ {
		if tail := b[len(b)-i:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return len(b)
			}
			return len(b) - i
		}
	}
	return len(b)
}
