package proc

// Tail is an io.Writer that keeps the last Limit bytes. Its zero value keeps
// nothing. Not safe for concurrent use.
type Tail struct {
	Limit int
	buf   []byte
}

// Write keeps the end of p. It never fails.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.Limit {
		p = p[len(p)-t.Limit:]
	}
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.Limit {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.Limit:]...)
	}
	return n, nil
}

// String gives what was kept.
func (t *Tail) String() string {
	if len(t.buf) > t.Limit {
		return string(t.buf[len(t.buf)-t.Limit:])
	}
	return string(t.buf)
}

// Head is an io.Writer that keeps the first Limit bytes and counts the rest.
// Not safe for concurrent use.
type Head struct {
	Limit int
	// Dropped is how many bytes did not fit.
	Dropped int64
	buf     []byte
}

// Write keeps what fits of p. It never fails, so that the writer on the other
// side of a pipe is not cut off.
func (h *Head) Write(p []byte) (int, error) {
	n := len(p)
	room := max(h.Limit-len(h.buf), 0)
	if len(p) > room {
		h.Dropped += int64(len(p) - room)
		p = p[:room]
	}
	h.buf = append(h.buf, p...)
	return n, nil
}

// Bytes gives what was kept.
func (h *Head) Bytes() []byte { return h.buf }
