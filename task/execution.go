package task

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"
)

// ExecutionID names one execution of a run. It is also the fencing token: a
// run accepts writes from one execution at a time. A UUID.
type ExecutionID string

// NewExecutionID makes an ExecutionID.
func NewExecutionID() ExecutionID { return ExecutionID(newUUID()) }

// ExecutionState is the life of an execution.
type ExecutionState string

// An execution is offered to a worker, claimed by it, working once the runner
// began, and ended once.
const (
	ExecutionOffered ExecutionState = "OFFERED"
	ExecutionClaimed ExecutionState = "CLAIMED"
	ExecutionWorking ExecutionState = "WORKING"
	ExecutionEnded   ExecutionState = "ENDED"
)

// Execution is one attempt of a worker to carry out a run.
type Execution struct {
	ID     ExecutionID    `json:"id"`      // also the fencing token
	TaskID ID             `json:"task_id"` // the run
	Number int            `json:"number"`  // 1, 2, 3 ... within the run
	Worker string         `json:"worker"`  // who was offered it
	State  ExecutionState `json:"state"`   // how far it is
	// LeaseUntil is when the platform may give the run to another execution.
	LeaseUntil time.Time `json:"lease_until"`
	// TokenHash is the SHA-256 of the run token, see NewToken.
	TokenHash []byte `json:"token_hash,omitempty"`
	// Appended counts the events this execution has appended; the offset of
	// its next batch, which makes a repeated append harmless.
	Appended  int64     `json:"appended"`
	OfferedAt time.Time `json:"offered_at"`          // when it was made
	ClaimedAt time.Time `json:"claimed_at,omitzero"` // when the worker said yes
	BegunAt   time.Time `json:"begun_at,omitzero"`   // when the runner began
	EndedAt   time.Time `json:"ended_at,omitzero"`   // when it ended
	// Reason says how it ended, for the record ("SUCCEEDED", "lease lost" ...).
	Reason string `json:"reason,omitempty"`
	// SandboxGone is true once the worker has removed the sandbox.
	SandboxGone bool `json:"sandbox_gone"`
}

// Live reports that the execution may still write.
func (e Execution) Live() bool { return e.ID != "" && e.State != ExecutionEnded }

// tokenPrefix marks run tokens, so that leak scanners can know them.
const tokenPrefix = "ozr_"

// NewToken makes the bearer token that is good for one execution alone, and
// the hash that the store keeps of it.
func NewToken(id ExecutionID) (token string, hash []byte) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand aborts the program instead
	token = tokenPrefix + string(id) + "." + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// ParseToken gives the execution that a run token claims to be for; ok is
// false when s is no run token. VerifyToken must follow.
func ParseToken(s string) (id ExecutionID, ok bool) {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return "", false
	}
	head, _, ok := strings.Cut(rest, ".")
	return ExecutionID(head), ok && head != ""
}

// VerifyToken compares a token with the execution's hash in constant time.
// Only a live execution's token is good.
func (e Execution) VerifyToken(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return e.Live() && subtle.ConstantTimeCompare(sum[:], e.TokenHash) == 1
}
