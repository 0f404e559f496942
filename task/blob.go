package task

import (
	"context"
	"io"
	"strings"
)

// BlobStore keeps large payloads (attachments, artifacts) outside the
// database. Implementations are safe for concurrent use.
type BlobStore interface {
	// PutBlob stores what r gives under key, replacing what was there, whole
	// or not at all. Keys have 1 to 255 bytes of [A-Za-z0-9._/-], no "..".
	PutBlob(ctx context.Context, key string, r io.Reader) (sizeBytes int64, err error)
	// OpenBlob opens a blob for reading; the caller closes it. It fails with ErrNotFound.
	OpenBlob(ctx context.Context, key string) (io.ReadSeekCloser, error)
	// DeleteBlob removes a blob; removing one that is not there is no error.
	DeleteBlob(ctx context.Context, key string) error
}

// MaxBlobKeyBytes bounds the key of a blob.
const MaxBlobKeyBytes = 255

// ValidateBlobKey checks a key by the rules of BlobStore.PutBlob: parts that
// are not empty and no dots alone, divided by slashes. Stores call it first.
func ValidateBlobKey(key string) error {
	if key == "" || len(key) > MaxBlobKeyBytes {
		return Invalid("key", "must have 1 to %d bytes", MaxBlobKeyBytes)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || strings.Contains(part, "..") {
			return Invalid("key", "%q has an empty part, a dot for a part, or two dots", key)
		}
	}
	if i := strings.IndexFunc(key, foreignToKeys); i >= 0 {
		return Invalid("key", "%q may only hold letters and digits of ASCII and . _ / -", key)
	}
	return nil
}

// foreignToKeys reports a character that no key may hold.
func foreignToKeys(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._/-", r))
}
