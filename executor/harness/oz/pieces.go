package ozagent

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/executor/harness"
	"github.com/oz-platform/cloudagents/secrets"
)

// A piece of streamed text is posted when it is pieceBytes long, or pieceDelay
// old: fast enough for a reader, few enough for the log.
const (
	pieceBytes = 4 << 10
	pieceDelay = 100 * time.Millisecond
)

// pieces cuts a stream of text into redacted pieces and posts them. Exactly
// one of end and drop must be called.
type pieces struct {
	redact *secrets.RedactWriter
	post   func(string) error
	stop   chan struct{}
	done   chan struct{}
	fresh  chan struct{} // has a token while there may be something to post

	mu  sync.Mutex
	buf []byte
	err error
}

// newPieces posts through post, one call at a time.
func newPieces(s *harness.Session, post func(string) error) *pieces {
	p := &pieces{post: post, stop: make(chan struct{}), done: make(chan struct{}), fresh: make(chan struct{}, 1)}
	p.redact = s.Redactor.Writer(redacted{p})
	go func() {
		defer close(p.done)
		for {
			select {
			case <-p.stop:
				return
			case <-p.fresh:
			}
			select {
			case <-p.stop:
				return
			case <-s.Clock.After(pieceDelay):
			}
			p.mu.Lock()
			p.flush(1)
			p.mu.Unlock()
		}
	}()
	return p
}

// write takes raw text.
func (p *pieces) write(text string) error {
	_, err := p.redact.Write([]byte(text))
	return err
}

// redacted is where the redactor writes to.
type redacted struct{ p *pieces }

// Write implements io.Writer. It blocks while the journal is full.
func (r redacted) Write(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(p.buf, b...)
	p.flush(pieceBytes)
	select {
	case p.fresh <- struct{}{}:
	default:
	}
	return len(b), p.err
}

// flush posts what is there if it has at least least bytes, but no half
// character. p.mu is held.
func (p *pieces) flush(least int) {
	whole := len(p.buf) - tornRune(p.buf)
	if p.err != nil || whole < least || whole == 0 {
		return
	}
	text := clean(string(p.buf[:whole]))
	p.buf = append(p.buf[:0], p.buf[whole:]...)
	p.err = p.post(text)
}

// end gives the text that was not posted yet.
func (p *pieces) end() (string, error) {
	err := p.redact.Close()
	p.drop()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		err = p.err
	}
	return clean(string(p.buf)), err
}

// drop stops posting.
func (p *pieces) drop() {
	close(p.stop)
	<-p.done
}

// tornRune is the length of the incomplete character at the end of b.
func tornRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// clean makes text fit for every store: valid UTF-8 without NUL.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "")
}
