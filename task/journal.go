package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String writes the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler, in hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return Invalid("hash", "must have %d hex digits", 2*len(h))
	}
	copy(h[:], b)
	return nil
}

// JournalEntry is one line of a Journal.
type JournalEntry struct {
	// Seq counts the entries: 1, 2, 3 ... without a gap.
	Seq int64
	// Hash is that of the entry before, followed by BodyHash; see NextHash.
	Hash Hash
	// BodyHash is the SHA-256 of Body.
	BodyHash Hash
	// Body is what is recorded, 1 to MaxJournalBytes.
	Body []byte
}

// MaxJournalBytes bounds JournalEntry.Body.
const MaxJournalBytes = 64 << 10

// Journal is a Store with a list that can only grow. Each entry's hash covers
// all entries before it, so that whoever has kept one hash can tell that
// nothing up to there was changed or taken away since.
type Journal interface {
	// AppendJournal adds entries behind each other, all of them or none, and
	// returns them. It fails with ErrInvalid for none and for a body that is
	// empty or too long. Many may append at once, at several stores on one database: the
	// chain never forks.
	AppendJournal(ctx context.Context, bodies ...[]byte) ([]JournalEntry, error)

	// Journal returns up to limit entries with numbers above after, in order;
	// fewer when they are large, but at least one.
	Journal(ctx context.Context, after int64, limit int) ([]JournalEntry, error)

	// JournalHead returns the newest entry without its body; zero when there is
	// none.
	JournalHead(ctx context.Context) (JournalEntry, error)
}

// NextHash is the hash of an entry: SHA-256 of the hash before it followed by
// its body's hash. Before the first entry it is 32 zero bytes.
func NextHash(before, body Hash) Hash {
	return sha256.Sum256(append(before[:], body[:]...))
}

// HashBody is the SHA-256 of an entry's body.
func HashBody(body []byte) Hash { return sha256.Sum256(body) }

// Chain makes the entries that follow last.
func Chain(last JournalEntry, bodies ...[]byte) []JournalEntry {
	out := make([]JournalEntry, len(bodies))
	for i, body := range bodies {
		e := JournalEntry{Seq: last.Seq + 1, BodyHash: HashBody(body), Body: body}
		e.Hash = NextHash(last.Hash, e.BodyHash)
		out[i], last = e, e
	}
	return out
}

// CheckJournal judges what is to be appended. Stores call it.
func CheckJournal(bodies [][]byte) error {
	if len(bodies) == 0 {
		return Invalid("body", "there is nothing to append")
	}
	for _, b := range bodies {
		if len(b) == 0 || len(b) > MaxJournalBytes {
			return Invalid("body", "has %d bytes; 1 to %d are allowed", len(b), MaxJournalBytes)
		}
	}
	return nil
}

// MaxJournalPage is when a page of a Journal ends although more entries were
// asked for, in bytes of their bodies. The first is always part of it.
const MaxJournalPage = 8 << 20
