package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one server-sent event, in bytes. The largest of the log is a
// message of task.MaxInputBytes, which JSON escapes to at most six times that.
const maxFrame = 16 << 20

// errFrame says that a stream holds more in one event than any log does.
var errFrame = &streamError{fmt.Errorf("an event of the stream has more than %d bytes", maxFrame)}

// frame is one server-sent event.
type frame struct {
	id    string
	event string
	data  []byte
}

// frameReader reads server-sent events (HTML standard, section 9.2), bounded.
// Of the fields it knows id, event and data; an event without data and without
// a name is passed over.
type frameReader struct {
	r     *bufio.Reader
	begun bool
	// alive is called for every line, also for comments. May be nil.
	alive func()
}

func newFrameReader(r io.Reader, alive func()) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 32<<10), alive: alive}
}

// next gives the next event. An event that the stream's end cuts off is
// dropped, as the standard wants it; then the error is io.EOF.
func (f *frameReader) next() (frame, error) {
	var out frame
	size := 0
	for {
		line, err := f.line(maxFrame - size)
		if err != nil {
			return frame{}, err
		}
		if f.alive != nil {
			f.alive()
		}
		size += len(line)
		if len(line) > 0 {
			out.field(line)
			continue
		}
		if out.event != "" || out.data != nil {
			out.data = bytes.TrimSuffix(out.data, []byte("\n"))
			return out, nil
		}
		out, size = frame{}, 0
	}
}

// field takes one line of an event.
func (out *frame) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "id":
		if !bytes.ContainsRune(value, 0) {
			out.id = string(value)
		}
	case "event":
		out.event = string(value)
	case "data":
		out.data = append(append(out.data, value...), '\n')
	}
}

// line reads up to LF or CRLF, without it. A bare CR, which the standard also
// takes for a line's end and no server sends, is data. Lines of more than limit
// bytes are an error.
func (f *frameReader) line(limit int) ([]byte, error) {
	if !f.begun {
		f.begun = true
		if bom, err := f.r.Peek(3); err == nil && string(bom) == "\uFEFF" {
			_, _ = f.r.Discard(3)
		}
	}
	var line []byte
	for {
		chunk, err := f.r.ReadSlice('\n')
		if len(line)+len(chunk) > limit+2 {
			return nil, errFrame
		}
		line = append(line, chunk...)
		if err == nil {
			return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}
