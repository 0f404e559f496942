package pgstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/oz-platform/cloudagents/task"
)

// PostgreSQL's text holds neither NUL nor invalid UTF-8, and Go's strings may
// hold both. The byte 1 begins what stands for them, and for itself; the order
// of valid strings stays as it was.
const (
	escape        = "\x01"
	escapedNUL    = escape + "\x01"
	escapedEscape = escape + "\x02"
	escapedByte   = escape + "\x03" // and two hexadecimal digits
	escapedRest   = escape + "\x04" // and the hash of the whole string
)

// text is the form of a string in a column.
func text(s string) string {
	if utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\x01") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0:
			b.WriteString(escapedNUL)
		case r == 1:
			b.WriteString(escapedEscape)
		case r == utf8.RuneError && size == 1:
			b.WriteString(escapedByte + hex.EncodeToString([]byte{s[i]}))
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// untext undoes text.
func untext(s string) string {
	if !strings.Contains(s, escape) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, escapedNUL):
			b.WriteByte(0)
			s = s[len(escapedNUL):]
		case strings.HasPrefix(s, escapedEscape):
			b.WriteByte(1)
			s = s[len(escapedEscape):]
		case strings.HasPrefix(s, escapedByte) && len(s) >= len(escapedByte)+2:
			raw, _ := hex.DecodeString(s[len(escapedByte) : len(escapedByte)+2]) // as text wrote it
			b.Write(raw)
			s = s[len(escapedByte)+2:]
		default:
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}

// maxKeyBytes bounds the strings in indexes: PostgreSQL refuses index rows
// above 2,704 bytes, and an index has up to two strings.
const maxKeyBytes = 512

// bounded is text for columns in indexes: of a longer string its begin, for
// the order, and its hash, for equality.
func bounded(s string) string {
	t := text(s)
	if len(t) <= maxKeyBytes {
		return t
	}
	cut := maxKeyBytes
	for !utf8.RuneStart(t[cut]) {
		cut--
	}
	sum := sha256.Sum256([]byte(s))
	return t[:cut] + escapedRest + hex.EncodeToString(sum[:])
}

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
func nanosOrNull(t time.Time) pgtype.Int8 {
	return pgtype.Int8{Int64: nanos(t), Valid: !t.IsZero()}
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }

func parseScope(s string) task.Scope {
	typ, uid, _ := strings.Cut(untext(s), ":")
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
	seq, time      int64
	execution, typ string
	data           []byte
}

// encodeEvents prepares events for storage. known are the payloads of the
// last of them, encoded before; nil for none.
func encodeEvents(events []task.Event, known [][]byte) ([]encodedEvent, error) {
	out := make([]encodedEvent, len(events))
	fresh := len(events) - len(known)
	for i, e := range events {
		out[i] = encodedEvent{seq: e.Seq, time: nanos(e.Time), execution: text(string(e.ExecutionID)), typ: string(e.Payload.Type())}
		if i >= fresh {
			out[i].data = known[i-fresh]
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
type encodedArtifact struct {
	uid, typ string
	data     []byte
}

func encodeArtifacts(artifacts []task.Artifact) ([]encodedArtifact, error) {
	var out []encodedArtifact
	for _, a := range artifacts {
		data, err := encode(a)
		if err != nil {
			return nil, err
		}
		out = append(out, encodedArtifact{bounded(a.UID), string(a.Type), data})
	}
	return out, nil
}

// metadataTag is the tag of a pair; a NUL ends the key, which may hold "=".
func metadataTag(key, value string) string { return bounded("m:" + key + "\x00" + value) }

// artifactTag is the tag of runs with an artifact of a type.
func artifactTag(typ string) string { return bounded("a:" + typ) }
