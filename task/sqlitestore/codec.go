package sqlitestore

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// The first and last moment that fit into an integer of nanoseconds.
var (
	minTime = time.Unix(0, math.MinInt64)
	maxTime = time.Unix(0, math.MaxInt64)
)

// nanos is the order-preserving form of a time in a column.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(minTime):
		return math.MinInt64
	case t.After(maxTime):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// nanosOrNull is nanos, but NULL for the zero time.
func nanosOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return nanos(t)
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }

func parseScope(s string) task.Scope {
	typ, uid, _ := strings.Cut(s, ":")
	return task.Scope{Type: task.ScopeType(typ), UID: uid}
}

// encode is json.Marshal, but leaves <, > and & as they are, so that JSON
// within the value comes back byte by byte.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodedEvent is an event as it is stored.
type encodedEvent struct {
	seq       int64
	execution string
	time      int64
	typ       string
	data      []byte
}

// encodeEvents prepares events for storage. data may hold the payloads of the
// last len(data) events, encoded before; nil for none.
func encodeEvents(events []task.Event, data [][]byte) ([]encodedEvent, error) {
	out := make([]encodedEvent, len(events))
	fresh := len(events) - len(data)
	for i, e := range events {
		out[i] = encodedEvent{seq: e.Seq, execution: string(e.ExecutionID), time: nanos(e.Time), typ: string(e.Payload.Type())}
		if i >= fresh {
			out[i].data = data[i-fresh]
			continue
		}
		var err error
		if _, out[i].data, err = task.MarshalPayload(e.Payload); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// encodePayloads encodes what an execution wants to append, and bounds it.
func encodePayloads(events []task.Event) (data [][]byte, size int, err error) {
	data = make([][]byte, len(events))
	for i, e := range events {
		if e.Payload == nil {
			return nil, 0, task.Invalid("events", "event %d has no payload", i)
		}
		if _, data[i], err = task.MarshalPayload(e.Payload); err != nil {
			return nil, 0, task.Invalid("events", "event %d: %w", i, err)
		}
		if len(data[i]) > task.MaxEventBytes {
			return nil, 0, task.Invalid("events", "event %d has %d bytes, at most %d are allowed; split it or keep less output", i, len(data[i]), task.MaxEventBytes)
		}
		size += len(data[i])
	}
	return data, size, nil
}

// encodedArtifact is an artifact as it is stored.
type encodedArtifact struct{ uid, typ, data string }

func encodeArtifacts(artifacts []task.Artifact) ([]encodedArtifact, error) {
	out := make([]encodedArtifact, len(artifacts))
	for i, a := range artifacts {
		data, err := encode(a)
		if err != nil {
			return nil, err
		}
		out[i] = encodedArtifact{a.UID, string(a.Type), string(data)}
	}
	return out, nil
}
