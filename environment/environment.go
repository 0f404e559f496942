package environment

import (
	"crypto/rand"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Environment is a stored Config with its history (Oz API, CloudEnvironment).
type Environment struct {
	// UID is 22 letters and digits, made by Store.Create.
	UID string `json:"uid"`
	// Config is what the user says.
	Config Config `json:"config"`
	// Owner is the person or team it belongs to.
	Owner task.Scope `json:"scope"`
	// Creator made it, LastEditor changed it last.
	Creator    task.Principal `json:"creator"`
	LastEditor task.Principal `json:"last_editor"`
	// CreatedAt and UpdatedAt are in UTC, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"last_updated"`
	// Revision counts the writes, from 1. Store.Update compares it.
	Revision int64 `json:"-"`
}

// uidLength is that of the wire (Oz API, CloudEnvironment): more than 128 bits
// in this alphabet.
const (
	uidLength   = 22
	uidAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// newUID draws letters and digits with equal chance.
func newUID() string {
	uid := make([]byte, 0, uidLength)
	for len(uid) < uidLength {
		var b [2 * uidLength]byte
		_, _ = rand.Read(b[:]) // never fails
		for _, v := range b {
			v &= 63 // the 2 values beyond the alphabet are drawn again
			if int(v) < len(uidAlphabet) && len(uid) < uidLength {
				uid = append(uid, uidAlphabet[v])
			}
		}
	}
	return string(uid)
}

// IsUID reports whether s has the form of an environment's UID.
func IsUID(s string) bool {
	if len(s) != uidLength {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
