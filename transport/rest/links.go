package rest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// signer makes and checks download links: addresses that work without a key,
// for a limited time (Oz API, transcript and artifact).
type signer struct {
	key   []byte
	clock task.Clock
}

// sign gives the signature of a link to one thing. Each part is preceded by
// its length, so that no two links have the same text to sign.
func (s signer) sign(expires int64, parts ...string) string {
	mac := hmac.New(sha256.New, s.key)
	_ = binary.Write(mac, binary.BigEndian, expires) // hashes never fail
	for _, p := range parts {
		_ = binary.Write(mac, binary.BigEndian, int64(len(p)))
		_, _ = mac.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// check fails with task.CodeNotAuthorized when a link was changed or is over.
func (s signer) check(expires int64, signature string, parts ...string) error {
	if !hmac.Equal([]byte(s.sign(expires, parts...)), []byte(signature)) {
		return task.Errorf(task.CodeNotAuthorized, "this link's signature is wrong; ask for the link again")
	}
	if s.clock.Now().Unix() >= expires {
		return task.Errorf(task.CodeNotAuthorized, "this link has expired; ask for a new one")
	}
	return nil
}

// Kinds of link.
const (
	linkTranscript = "transcript"
	linkArtifact   = "artifact"
)

// link gives the path of a download, signed, and when it ends.
func (h *Handler) link(path string, query url.Values, parts ...string) (target string, expires time.Time) {
	expires = h.opts.Clock.Now().Add(h.opts.LinkLifetime).UTC().Truncate(time.Second)
	query.Set("expires", strconv.FormatInt(expires.Unix(), 10))
	query.Set("signature", h.links.sign(expires.Unix(), parts...))
	return h.opts.Prefix + path + "?" + query.Encode(), expires
}

// absolute makes a path a URL that the caller of r can reach: below the
// server's public address, or where the request itself went.
func (h *Handler) absolute(r *http.Request, path string) string {
	if base, err := url.Parse(h.platform.PublicURL()); err == nil && base.Host != "" {
		return base.Scheme + "://" + base.Host + strings.TrimRight(base.EscapedPath(), "/") + path
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + path
}
