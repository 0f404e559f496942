package secrets

import (
	"errors"
	"io"
	"sync"
)

const (
	// stepBytes is how much a writer looks at at once: few enough bytes that what
	// the views need stays in the processor's cache.
	stepBytes = 16 << 10

	// maxHeld bounds what a writer holds back. The longest legitimate match is a
	// block with every byte of it escaped twice, some 64 times blockBytes; only a
	// secret stretched by terminal control reaches this limit. What began like a
	// secret and exceeds it is redacted.
	maxHeld = 1 << 20

	// lazyHeld and lazyShare: a writer that holds back more than lazyHeld waits
	// until the new bytes are a share of that, so that a long secret written byte
	// by byte does not cost the square of its length.
	lazyHeld  = 4 << 10
	lazyShare = 16
)

var errClosed = errors.New("write to a closed redacting writer")

// RedactWriter redacts a stream. It is safe for concurrent use, as by a process
// whose stdout and stderr are the same writer.
//
// Write passes on at once all that cannot be part of a secret, whatever follows. It
// holds back the rest: the beginning of what may become a secret, at most 1 MiB,
// usually nothing or a few bytes; a text that ends with a line feed is not held back
// for its last line's sake. Close decides about the rest. There is no way to force
// held back bytes out earlier, because that would publish secrets whose
// other half comes late.
type RedactWriter struct {
	redactor *Redactor

	mu     sync.Mutex
	dst    io.Writer
	scan   scanner
	held   []byte
	seen   int // how much of held has been looked at
	out    []byte
	sweep  sweep
	found  map[string]bool // if not nil, collects the names that were redacted
	err    error
	closed bool
}

// Writer returns a writer that passes what it is given on to dst, with the secrets
// replaced. Secrets added later apply from the next Write on.
func (r *Redactor) Writer(dst io.Writer) *RedactWriter {
	return &RedactWriter{redactor: r, dst: dst}
}

// Write redacts p. It fails with the first error of the destination, for good.
func (w *RedactWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, errClosed
	}
	if w.err != nil {
		return 0, w.err
	}
	w.out = w.out[:0]
	for rest := p; len(rest) > 0; {
		n := min(len(rest), stepBytes)
		w.take(rest[:n])
		rest = rest[n:]
	}
	if err := w.emit(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush passes on what Write may have left for later to save work: after many small
// writes in the midst of what looks like a long secret. It does not release bytes that
// may still turn out to be one.
func (w *RedactWriter) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.err != nil {
		return w.err
	}
	w.out = w.out[:0]
	if w.seen < len(w.held) {
		w.step(w.held, false)
	}
	return w.emit()
}

// Close passes on the held back bytes, redacted if they are half of a secret or more.
// It does not close the destination. A second Close does nothing.
func (w *RedactWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err != nil {
		return w.err
	}
	w.out = w.out[:0]
	w.step(w.held, true)
	err := w.emit()
	w.held, w.out, w.scan = nil, nil, scanner{}
	return err
}

// take adds p to what is held, and appends to out what is decided by now.
func (w *RedactWriter) take(p []byte) {
	if len(w.held) == 0 {
		w.step(p, false)
		return
	}
	w.held = append(w.held, p...)
	if fresh := len(w.held) - w.seen; w.seen < lazyHeld || fresh*lazyShare >= w.seen {
		w.step(w.held, false)
	}
}

// step looks at buf, appends what is decided to out, and holds the rest.
func (w *RedactWriter) step(buf []byte, eof bool) {
	s := &w.scan
	s.scan(w.redactor.matcher(), buf, eof)
	if len(buf)-s.cut > maxHeld {
		s.giveUp(buf)
	}
	if w.found != nil {
		for _, span := range s.spans {
			if span.start < s.cut {
				w.found[span.name] = true
			}
		}
	}
	w.out = w.sweep.write(w.out, buf, s.spans, s.cut)
	w.held = append(w.held[:0], buf[s.cut:]...)
	w.seen = len(w.held)
}

// emit writes out to the destination.
func (w *RedactWriter) emit() error {
	if len(w.out) == 0 {
		return nil
	}
	n, err := w.dst.Write(w.out)
	if err == nil && n < len(w.out) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}
