package task

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of memories; ours.
const (
	// MaxMemoryBytes bounds what one memory says: it is a fact, not a file.
	MaxMemoryBytes = 4 << 10
	// MaxMemoryReason bounds why it is kept, in bytes.
	MaxMemoryReason = 1 << 10
)

// Memory is one version of something that agents remember from run to run
// (Oz platform, MEM-2).
type Memory struct {
	// UID names the memory, through all its versions. A UUID.
	UID string `json:"uid"`
	// Store is the uid of the memory store that has it.
	Store string `json:"store_uid"`
	// Content is what is remembered, at most MaxMemoryBytes.
	Content string `json:"content"`
	// Reason says why, at most MaxMemoryReason; may be empty.
	Reason string `json:"reason,omitempty"`
	// Version counts the changes, from 1.
	Version int `json:"version"`
	// Author wrote this version, in RunID if it was an agent at work.
	Author Principal `json:"author"`
	RunID  ID        `json:"run_id,omitempty"`
	// WrittenAt is when, in UTC to the microsecond.
	WrittenAt time.Time `json:"written_at"`
}

// ValidateMemory judges what is to be remembered, and why. It fails with
// ErrInvalid.
func ValidateMemory(content, reason string) error {
	for _, f := range []struct {
		name, text string
		most       int
	}{{"content", content, MaxMemoryBytes}, {"reason", reason, MaxMemoryReason}} {
		if len(f.text) > f.most {
			return Invalid(f.name, "has %d bytes, at most %d are allowed", len(f.text), f.most)
		}
		if !utf8.ValidString(f.text) || strings.Contains(f.text, "\x00") {
			return Invalid(f.name, "must be valid UTF-8 without NUL characters")
		}
	}
	if strings.TrimSpace(content) == "" {
		return Invalid("content", "is empty")
	}
	return nil
}
