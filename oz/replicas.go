package oz

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// How platforms on one store speak to each other.
const (
	kindReplicas = "oz.replicas" // the record of their key, by keyOfReplicas
	keyReplicas  = "key"

	farInbox  = 4096                   // words of others that wait; more are lost
	farBeat   = 5 * time.Second        // between two signs of life
	farSilent = 4 * farBeat            // after which the other one is gone
	farPause  = 200 * time.Millisecond // in which changes of who is there come together
	farWait   = 5 * time.Second        // for another platform to answer, or the store to send
	farHeader = 1500                   // bytes of a word besides its data
	farData   = task.MaxSaid - farHeader
)

// farKind is what a word is about.
type farKind string

const (
	farOpen   farKind = "open"   // somebody at From waits for a terminal
	farJoin   farKind = "join"   // its runner is at From
	farJoined farKind = "joined" // the terminal is connected
	farFrame  farKind = "frame"  // something typed or shown
	farAck    farKind = "ack"    // Number frames were taken
	farPing   farKind = "ping"   // the connection is wanted
	farEnds   farKind = "end"    // the connection is over, or was never one
	farPeople farKind = "crowd"  // who follows Run at From
	farWho    farKind = "who"    // asks for that
	farAsked  farKind = "asked"  // the requests to edit Run have changed
)

// farWord is what one platform says to another, or to all.
type farWord struct {
	Kind     farKind                `json:"k"`
	From     string                 `json:"f"`
	To       string                 `json:"t,omitempty"` // "" for all
	Run      task.ID                `json:"r,omitempty"`
	Exec     task.ExecutionID       `json:"x,omitempty"`
	Terminal string                 `json:"i,omitempty"`
	Conn     string                 `json:"c,omitempty"`
	Number   int64                  `json:"n,omitempty"` // of a frame, from 1; of a part of a crowd, from 0
	Size     *executor.TerminalSize `json:"s,omitempty"`
	Closed   *task.Terminal         `json:"e,omitempty"`
	People   []farPerson            `json:"p,omitempty"`
	More     bool                   `json:"m,omitempty"` // another part of the crowd follows
	Data     []byte                 `json:"-"`
}

// replicas speaks to the other platforms on the store, while the platform runs:
// of terminals whose ends are at two of them, and of who follows a run. Words are
// sealed, as others may listen to what is said in a database. They may get lost:
// terminals notice it and end, all else is said again.
type replicas struct {
	p     *Platform
	bus   task.Bus // nil for a store of one program alone
	self  string
	inbox chan farWord
	ring  chan struct{} // capacity 1: dirty has some

	mu    sync.Mutex
	seal  cipher.AEAD // nil while the platform does not run
	ends  map[string]*farEnd
	dirty map[task.ID]bool // whose crowd is to be told
}

func newReplicas(p *Platform) *replicas {
	r := &replicas{p: p, self: rand.Text(), inbox: make(chan farWord, farInbox), ring: make(chan struct{}, 1),
		ends: map[string]*farEnd{}, dirty: map[task.ID]bool{}}
	r.bus, _ = p.store.(task.Bus)
	return r
}

// run listens and speaks until ctx ends.
func (r *replicas) run(ctx context.Context) {
	if r.bus == nil {
		return
	}
	clock := r.p.opts.Clock
	for {
		err := r.open(ctx)
		if err == nil {
			break
		}
		r.p.opts.Logger.Warn("speak to the other servers", zap.Error(err))
		select {
		case <-clock.After(farWait):
		case <-ctx.Done():
			return
		}
	}
	defer r.bus.Hear(r.hear)()
	defer r.leave(ctx)
	beat := clock.After(farBeat)
	var due <-chan time.Time
	for beats := 1; ; {
		select {
		case w := <-r.inbox:
			r.handle(ctx, w)
		case <-r.ring:
			if due == nil {
				due = clock.After(farPause)
			}
		case <-due:
			due = nil
			r.tellCrowds(ctx)
		case <-beat:
			r.beat(ctx)
			if beats++; beats%2 == 0 {
				r.tellAgain()
			}
			beat = clock.After(farBeat)
		case <-ctx.Done():
			return
		}
	}
}

// open gets the key that all platforms on the store have, and makes it if there
// is none.
func (r *replicas) open(ctx context.Context) error {
	for {
		rec, err := r.p.store.Record(ctx, kindReplicas, keyReplicas)
		if errors.Is(err, task.ErrNotFound) {
			rec.Data = make([]byte, 32)
			_, _ = rand.Read(rec.Data) // never fails
			_, err = r.p.store.PutRecord(ctx, task.Record{Kind: kindReplicas, Key: keyReplicas, Data: rec.Data, UpdatedAt: r.p.opts.Clock.Now()})
			if errors.Is(err, task.ErrConflict) {
				continue
			}
		}
		if err != nil {
			return err
		}
		block, err := aes.NewCipher(rec.Data)
		if err != nil {
			return fmt.Errorf("key of the servers: %w", err)
		}
		seal, err := cipher.NewGCM(block)
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seal = seal
		return nil
	}
}

// leave ends all terminals that reach another platform.
func (r *replicas) leave(ctx context.Context) {
	r.mu.Lock()
	ends := slices.Collect(maps.Values(r.ends))
	r.mu.Unlock()
	var words []farWord
	for _, e := range ends {
		e.finish()
		words = append(words, farWord{Kind: farEnds, To: e.to(), Conn: e.id})
	}
	for _, id := range r.p.presences.followed() {
		words = append(words, farWord{Kind: farPeople, Run: id})
	}
	_ = r.say(context.WithoutCancel(ctx), words...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seal = nil
}

// aead is nil while the platform does not run.
func (r *replicas) aead() cipher.AEAD {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seal
}

var errAlone = task.Errorf(task.CodeResourceUnavailable, "this server is not connected with others")

// say sends words, in order. It fails with errAlone when there can be no others.
func (r *replicas) say(ctx context.Context, words ...farWord) error {
	seal := r.aead()
	if seal == nil {
		return errAlone
	}
	messages := make([][]byte, len(words))
	for i, w := range words {
		w.From = r.self
		var err error
		if messages[i], err = sealWord(seal, w); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, farWait)
	defer cancel()
	return r.bus.Say(ctx, messages...)
}

// sealWord packs a word: how long its header is, the header, the data.
func sealWord(seal cipher.AEAD, w farWord) ([]byte, error) {
	header, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode %s for another server: %w", w.Kind, err)
	}
	plain := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(header)+len(w.Data)), uint16(min(len(header), 1<<16-1)))
	plain = append(append(plain, header...), w.Data...)
	nonce := make([]byte, seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return seal.Seal(nonce, nonce, plain, []byte(kindReplicas)), nil
}

// openWord is the inverse of sealWord; ok is false for what nobody with our key
// has said.
func openWord(seal cipher.AEAD, message []byte) (w farWord, ok bool) {
	n := seal.NonceSize()
	if len(message) < n {
		return w, false
	}
	plain, err := seal.Open(nil, message[:n], message[n:], []byte(kindReplicas))
	if err != nil || len(plain) < 2 {
		return w, false
	}
	header := int(binary.BigEndian.Uint16(plain))
	if plain = plain[2:]; len(plain) < header || json.Unmarshal(plain[:header], &w) != nil {
		return w, false
	}
	w.Data = plain[header:]
	return w, true
}

// hear takes a message that is for this platform.
func (r *replicas) hear(message []byte) {
	seal := r.aead()
	if seal == nil {
		return
	}
	w, ok := openWord(seal, message)
	if !ok || w.From == r.self || w.To != "" && w.To != r.self {
		return
	}
	select {
	case r.inbox <- w:
	default: // it is said again, or the gap is noticed
	}
}

func (r *replicas) handle(ctx context.Context, w farWord) {
	now := r.p.opts.Clock.Now()
	switch w.Kind {
	case farOpen:
		if w.Size != nil {
			r.p.terminals.hear(w.Exec, &farAsk{id: w.Terminal, from: w.From, size: *w.Size, until: now.Add(2 * terminalAgain)})
		}
	case farJoin:
		r.meet(ctx, w)
	case farJoined, farFrame, farAck, farPing, farEnds:
		if !r.pass(w, now) && w.Kind != farEnds {
			_ = r.say(ctx, farWord{Kind: farEnds, To: w.From, Conn: w.Conn})
		}
	case farPeople:
		r.p.presences.hear(w, now.Add(farSilent+2*farBeat))
	case farWho:
		r.changed(w.Run, false)
	case farAsked:
		r.p.presences.asked(w.Run)
	}
}

// meet connects the runner at another platform with the person here.
func (r *replicas) meet(ctx context.Context, w farWord) {
	e := r.newEnd(w.Conn, w.From)
	if e == nil {
		return
	}
	answer := farWord{Kind: farJoined, To: w.From, Conn: w.Conn}
	if r.p.terminals.join(w.Exec, w.Terminal, e) != nil {
		e.finish()
		if w.To == "" { // another one may have it
			return
		}
		answer.Kind = farEnds
	}
	_ = r.say(ctx, answer) // without an answer the other side gives up
}

// pass gives a word to the end that it is for; false when there is none.
func (r *replicas) pass(w farWord, now time.Time) bool {
	r.mu.Lock()
	e := r.ends[w.Conn]
	r.mu.Unlock()
	return e != nil && e.isFrom(w) && e.hear(w, now)
}

// beat tells that terminals are wanted, and gives up those of which nothing was
// heard for long.
func (r *replicas) beat(ctx context.Context) {
	now := r.p.opts.Clock.Now()
	r.p.terminals.expire(now)
	r.p.presences.expire(now)
	r.mu.Lock()
	ends := slices.Collect(maps.Values(r.ends))
	r.mu.Unlock()
	var words []farWord
	for _, e := range ends {
		if e.silent(now) {
			e.finish()
			continue
		}
		words = append(words, farWord{Kind: farPing, To: e.to(), Conn: e.id})
	}
	if len(words) > 0 {
		_ = r.say(ctx, words...)
	}
}

// announce tells that somebody waits here for a terminal.
func (r *replicas) announce(ctx context.Context, x *Terminal) {
	if r.aead() == nil {
		return
	}
	if err := r.say(ctx, farWord{Kind: farOpen, Exec: x.exec, Terminal: x.ID, Size: &x.size}); err != nil {
		r.p.opts.Logger.Warn("tell the other servers of a terminal", zap.String("task_id", string(x.id)), zap.Error(err))
	}
}

// changed remembers that the crowd of a run is to be told; first asks for those
// of others.
func (r *replicas) changed(id task.ID, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seal == nil {
		return
	}
	r.dirty[id] = r.dirty[id] || first
	select {
	case r.ring <- struct{}{}:
	default:
	}
}

// tellAgain has all crowds told.
func (r *replicas) tellAgain() {
	for _, id := range r.p.presences.followed() {
		r.changed(id, false)
	}
}

// tellCrowds tells who follows the runs of which that has changed.
func (r *replicas) tellCrowds(ctx context.Context) {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = map[task.ID]bool{}
	r.mu.Unlock()
	var words []farWord
	for id, first := range dirty {
		if first {
			words = append(words, farWord{Kind: farWho, Run: id})
		}
		words = append(words, crowdWords(id, r.p.presences.local(id))...)
	}
	for piece := range slices.Chunk(words, 100) {
		_ = r.say(ctx, piece...) // it is told again
	}
}

// editAsked tells that the requests to edit a run have changed.
func (r *replicas) editAsked(ctx context.Context, id task.ID) {
	r.p.presences.asked(id)
	_ = r.say(ctx, farWord{Kind: farAsked, Run: id}) // they see it at the next change
}
