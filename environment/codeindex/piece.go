package codeindex

import (
	"bytes"
	"crypto/sha256"
	"path"
	"regexp"
	"strings"
)

// Limits of the pieces of files that get embeddings.
const (
	// MaxPieces is how many pieces of a repository are embedded.
	MaxPieces = 20_000
	// MaxPieceFileBytes is the largest file that is embedded: larger ones are
	// generated.
	MaxPieceFileBytes = 128 << 10
	maxPieceBytes     = 1600
	maxPieceLines     = 40
	goodPieceLines    = 15 // from here on an empty line ends a piece
	minPieceBytes     = 16 // with less there is nothing to find
)

// pieceID names a piece by what is sent of it.
type pieceID [16]byte

// piece is a part of a file that is embedded as one.
type piece struct {
	id          pieceID
	first, last int // lines, from 1
	text        string
}

// pieces cuts a file. What is sent of each begins with the path, which says
// much of what it is.
func pieces(file string, text []byte) []piece {
	var out []piece
	var now []byte
	starts := lineStarts(text)
	first := 0
	end := func(next int) {
		if len(bytes.TrimSpace(now)) >= minPieceBytes {
			sent := file + "\n" + strings.ToValidUTF8(string(now), "\ufffd")
			sum := sha256.Sum256([]byte(sent))
			out = append(out, piece{id: pieceID(sum[:16]), first: first + 1, last: next, text: sent})
		}
		now, first = now[:0], next
	}
	for i, start := range starts {
		stop := len(text)
		if i+1 < len(starts) {
			stop = starts[i+1]
		}
		line := bytes.TrimRight(text[start:stop], " \t\r\n")
		line = line[:min(len(line), maxLine)]
		if len(now)+len(line) >= maxPieceBytes || i-first >= maxPieceLines || len(line) == 0 && i-first >= goodPieceLines {
			end(i)
		}
		now = append(append(now, line...), '\n')
	}
	end(len(starts))
	return out
}

// secretNames are what files that hold secrets are called.
var secretNames = [...]string{".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.tfstate",
	"*.tfstate.*", "*.tfvars", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd",
	".git-credentials", "kubeconfig", "*credential*.json", "*credential*.y*ml", "credentials", "*secret*.json", "*secret*.y*ml", "*secret*.txt", "*.secret"}

// secretText is what secrets in files look like: the known forms of keys, and
// a long text that is given to something called like a secret.
var secretText = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}` +
	`|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bsk-[A-Za-z0-9_-]{16,}|\bsk_live_[A-Za-z0-9]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\beyJ[A-Za-z0-9_-]{10,}\.eyJ` +
	`|(?i:password|passwd|secret|api_?key|access_?key|token|credential)[A-Za-z_]*["']?\s*[:=]+\s*["'][^"'\s]{12,}["']`)

// looksSecret reports whether a file is not to be sent anywhere.
func looksSecret(file string, text []byte) bool {
	name := strings.ToLower(path.Base(file))
	for _, pattern := range secretNames {
		if ok, _ := path.Match(pattern, name); ok { // the patterns are well formed
			return true
		}
	}
	return secretText.Match(text)
}
