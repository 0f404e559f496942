package scripted

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// player sends an answer, or fails at it as told.
type player struct {
	w     http.ResponseWriter
	r     *http.Request
	clock task.Clock
	delay time.Duration
	fault *Fault // nil: all goes well
}

// nonsense is what a Garbage fault says. It begins like JSON, as broken answers do.
const nonsense = `{"id": "msg_garbage", "content": [{"type": "te`

// stream sends events. It panics with http.ErrAbortHandler, net/http's way to
// break a connection, where a fault cuts it.
func (p *player) stream(list []event) {
	p.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	p.w.Header().Set("Cache-Control", "no-cache")
	p.w.WriteHeader(http.StatusOK)
	if f := p.fault; f != nil {
		switch {
		case f.Empty:
			return
		case f.Silent:
			p.silence()
			return
		case f.Garbage:
			p.send(event{name: list[0].name, data: []byte(nonsense)})
			return
		}
	}
	for i, e := range list {
		p.cutAt(i)
		if !p.wait() {
			return
		}
		p.send(e)
	}
	p.cutAt(len(list))
}

func (p *player) cutAt(sent int) {
	if p.fault != nil && p.fault.CutAfter != nil && *p.fault.CutAfter <= sent {
		p.flush()
		panic(http.ErrAbortHandler)
	}
}

// wait pauses before an event; it reports false when the client has gone.
func (p *player) wait() bool {
	if p.delay == 0 {
		return true
	}
	p.flush()
	select {
	case <-p.clock.After(p.delay):
		return true
	case <-p.r.Context().Done():
		return false
	}
}

func (p *player) send(e event) {
	var b bytes.Buffer
	if e.name != "" {
		b.WriteString("event: " + e.name + "\n")
	}
	b.WriteString("data: ")
	b.Write(e.data)
	b.WriteString("\n\n")
	_, _ = p.w.Write(b.Bytes()) // the client is gone: nobody to tell
	p.flush()
}

func (p *player) flush() { _ = http.NewResponseController(p.w).Flush() }

func (p *player) silence() {
	p.flush()
	<-p.r.Context().Done()
}

// whole sends an answer that is no stream.
func (p *player) whole(document any) {
	if f := p.fault; f != nil {
		switch {
		case f.Empty:
			p.w.Header().Set("Content-Type", "application/json")
			return
		case f.Silent:
			p.w.WriteHeader(http.StatusOK)
			p.silence()
			return
		case f.Garbage:
			p.w.Header().Set("Content-Type", "application/json")
			_, _ = p.w.Write([]byte(nonsense))
			return
		case f.CutAfter != nil:
			p.half(document)
		}
	}
	if !p.wait() {
		return
	}
	writeJSON(p.w, http.StatusOK, document)
}

// half promises a whole answer, sends half of it and breaks the connection.
func (p *player) half(document any) {
	body, _ := json.Marshal(document) // made of strings, numbers and checked JSON
	p.w.Header().Set("Content-Type", "application/json")
	p.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = p.w.Write(body[:len(body)/2])
	p.flush()
	panic(http.ErrAbortHandler)
}
