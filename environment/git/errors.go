package git

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/oz-platform/cloudagents/internal/proc"
)

// Reason sorts failures by what somebody can do about them.
type Reason string

// Reasons of an *Error, read from git's own words.
const (
	ReasonOther     Reason = "other"
	ReasonAccess    Reason = "access"    // the host refuses: credential missing or without the right
	ReasonNotFound  Reason = "not_found" // no such repository, or a private one that is hidden
	ReasonRef       Reason = "ref"       // no such branch or commit
	ReasonNetwork   Reason = "network"   // the host cannot be reached
	ReasonRejected  Reason = "rejected"  // the remote branch has commits that ours lacks, or is protected
	ReasonDisk      Reason = "disk"      // no room
	ReasonTimeout   Reason = "timeout"   // the time limit of the command
	ReasonCancelled Reason = "cancelled" // the caller's context ended
)

// Failures that are not git's own.
var (
	// ErrNothingToCommit: the work tree is as the last commit left it.
	ErrNothingToCommit = errors.New("nothing to commit")
	// ErrNotArrived: a push was accepted, yet the remote branch is not at the commit.
	ErrNotArrived = errors.New("push did not arrive")
	// ErrNotRepository: the directory is not the top of a work tree.
	ErrNotRepository = errors.New("not the top directory of a git repository")
)

// Error is a git command that failed.
type Error struct {
	// Op is the git subcommand, such as "clone".
	Op string
	// ExitCode is git's, or -1 if it did not exit by itself.
	ExitCode int
	// Stderr is the end of what git said, at most 4 KiB, without credentials.
	Stderr string
	// Reason sorts the failure.
	Reason Reason
	// Err is the cause: an *exec.ExitError or a context's error.
	Err error
}

// Error names the subcommand and gives git's reason.
func (e *Error) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if e.Reason == ReasonTimeout || e.Reason == ReasonCancelled || said == "" {
		return fmt.Sprintf("git %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("git %s: exit code %d: %s", e.Op, e.ExitCode, said)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf gives the Reason of the *Error in err's chain, ReasonOther without one.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonOther
}

// classify reads git's messages, which LC_ALL=C keeps in English. First match wins.
func classify(stderr string) Reason {
	low := strings.ToLower(stderr)
	for _, rule := range []struct {
		reason Reason
		words  []string
	}{
		{ReasonDisk, []string{"no space left on device", "disk quota exceeded"}},
		{ReasonAccess, []string{"authentication failed", "could not read username", "could not read password",
			"terminal prompts disabled", "permission denied (", "returned error: 401", "returned error: 403"}},
		{ReasonRef, []string{"couldn't find remote ref", "not our ref", "remote branch", "no such ref"}},
		{ReasonRejected, []string{"[rejected]", "[remote rejected]", "non-fast-forward"}},
		{ReasonNotFound, []string{"repository not found", "does not appear to be a git repository", "does not exist",
			"returned error: 404", "' not found"}},
		{ReasonNetwork, []string{"could not resolve host", "connection refused", "connection timed out", "connection reset",
			"failed to connect", "operation timed out", "network is unreachable", "early eof", "ssl"}},
	} {
		for _, w := range rule.words {
			if strings.Contains(low, w) {
				return rule.reason
			}
		}
	}
	return ReasonOther
}

// userInfo is the part of a URL that may hold credentials.
var userInfo = regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/\s@'"]*@`)

// scrub removes credentials from what git said.
func scrub(s string, secrets []string) string {
	return userInfo.ReplaceAllString(proc.Mask(s, secrets, stderrTailBytes), "${1}***@")
}
