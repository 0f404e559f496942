package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor/gateway/scripted"
)

// modelKey is the key of the scripted model. It must not be guessable, or the
// redactor refuses it.
const modelKey = "scripted-model-key-123456"

const maxModelBody = 32 << 20 // bytes, as the real APIs have it

// model is the far end of the internet: a scripted model for each story, and
// the faults of all.
type model struct {
	url    string
	close  func() error
	story  func(number int) *story
	mu     sync.Mutex
	minds  map[int]*scripted.Server
	counts map[string]int // how often a mark was in a conversation, at most
	odd    []string       // requests that a real API would refuse
	faults []modelFault   // what the next requests meet
}

// modelFault is what goes wrong with one request.
type modelFault struct {
	status int // answered instead
	cut    int // the answer breaks off after so many bytes, when status is 0
}

func startModel(stories func(int) *story) (*model, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("scripted model: %w", err)
	}
	m := &model{url: "http://" + ln.Addr().String(), story: stories, minds: map[int]*scripted.Server{}, counts: map[string]int{}}
	srv := &http.Server{Handler: m, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with ErrServerClosed
	}()
	m.close = sync.OnceValue(func() error {
		err := srv.Close()
		<-done
		return err
	})
	return m, nil
}

// ServeHTTP hands the request to the mind of its story, or lets it fail.
func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxModelBody))
	if err != nil {
		return // the client has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	fault, faulty := m.nextFault()
	if faulty && fault.status != 0 {
		w.Header().Set("Retry-After-Ms", "20")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(fault.status)
		_, _ = io.WriteString(w, `{"type":"error","error":{"type":"api_error","message":"chaos"}}`)
		return
	}
	mind, err := m.mind(body)
	if err != nil {
		m.note(err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if faulty {
		w = &cutWriter{w, fault.cut}
	}
	mind.ServeHTTP(w, r)
}

// mind is the model that a request is for.
func (m *model) mind(body []byte) (*scripted.Server, error) {
	found := markPattern.FindSubmatch(body)
	if found == nil {
		return nil, errors.New("a request to the model has no story's mark")
	}
	number, _ := parseMark([]string{"", string(found[1]), string(found[2])})
	m.mu.Lock()
	defer m.mu.Unlock()
	if mind := m.minds[number]; mind != nil {
		return mind, nil
	}
	mind, err := scripted.New(m.story(number).script(m.look), &scripted.Options{APIKey: modelKey})
	m.minds[number] = mind
	return mind, err
}

// look counts the marks in a conversation.
func (m *model) look(r *scripted.Request) {
	counts := map[string]int{}
	for _, msg := range r.Messages {
		for _, b := range msg.Blocks {
			if msg.Role != "user" || b.Type != "text" {
				continue
			}
			for _, mark := range markPattern.FindAllString(b.Text, -1) {
				counts[mark]++
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for mark, n := range counts {
		m.counts[mark] = max(m.counts[mark], n)
	}
}

// seen is how often a message was in the conversation of its run, at most.
func (m *model) seen(mark string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[mark]
}

// forget frees what a story's mind has kept, and notes what was wrong.
func (m *model) forget(number int) {
	m.mu.Lock()
	mind := m.minds[number]
	delete(m.minds, number)
	m.mu.Unlock()
	if mind == nil {
		return
	}
	for _, q := range mind.Problems() {
		m.note(fmt.Sprintf("story %d: %s", number, q.Problem))
	}
}

func (m *model) note(problem string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.odd = append(m.odd, problem)
}

func (m *model) problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.odd...)
}

// fail lets the next n requests fail.
func (m *model) fail(f modelFault, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.faults = append(m.faults, f)
	}
}

func (m *model) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

func (m *model) nextFault() (modelFault, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.faults) == 0 {
		return modelFault{}, false
	}
	f := m.faults[0]
	m.faults = m.faults[1:]
	return f, true
}

// cutWriter breaks the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

// Write implements io.Writer. It panics with http.ErrAbortHandler, net/http's
// way to break a connection.
func (c *cutWriter) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Unwrap lets http.ResponseController find Flush.
func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
