//go:build linux

// Package outlog keeps a bounded amount of what a sandbox writes, and lets it be
// read while it grows. Who writes is the process in charge of one sandbox; who
// reads may be another, later one.
package outlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MinLimit is the smallest limit that makes sense, in bytes: below it the pieces would be smaller than what one write
// brings.
const MinLimit = 64 << 10

// Output is kept in pieces: "output.0" is the head and stays, later pieces hold what follows, and the oldest of these
// goes when there are more than tailPieces. So a piece never changes once it is full, and a reader needs no more than
// the names to see what was dropped.
const (
	outputPrefix = "output."
	tailPieces   = 4
)

// Layout says how large the pieces are, in bytes.
type Layout struct{ head, tail int64 }

// NewLayout gives the pieces of a log of at most limit bytes.
func NewLayout(limit int64) Layout {
	return Layout{head: limit / 2, tail: limit / 2 / tailPieces}
}

func (l Layout) size(piece int) int64 {
	if piece == 0 {
		return l.head
	}
	return l.tail
}

func piecePath(dir string, piece int) string {
	return filepath.Join(dir, outputPrefix+strconv.Itoa(piece))
}

// pieces returns the numbers of the pieces that exist in dir, in no order.
func pieces(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		digits, found := strings.CutPrefix(entry.Name(), outputPrefix)
		if n, err := strconv.Atoi(digits); found && err == nil && n >= 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// Writer writes pieces. Write never fails: what the disk does not take is counted and noted as soon as it takes
// something again, because the process that writes must not notice.
type Writer struct {
	dir    string
	layout Layout

	piece int
	file  *os.File
	size  int64 // of the present piece
	lost  int64 // bytes not written and not yet noted
}

// NewWriter begins a log in dir, which must hold none.
func NewWriter(dir string, layout Layout) (*Writer, error) {
	file, err := createPiece(dir, 0)
	if err != nil {
		return nil, err
	}
	return &Writer{dir: dir, layout: layout, file: file}, nil
}

func createPiece(dir string, piece int) (*os.File, error) {
	return os.OpenFile(piecePath(dir, piece), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Write implements io.Writer and always reports success.
func (w *Writer) Write(p []byte) (int, error) {
	if w.lost > 0 {
		note := fmt.Sprintf("\n[%d bytes of output lost: cannot write to disk]\n", w.lost)
		if w.write([]byte(note)) < len(note) {
			w.lost += int64(len(p))
			return len(p), nil
		}
		w.lost = 0
	}
	w.lost += int64(len(p) - w.write(p))
	return len(p), nil
}

// write returns how much of p is stored.
func (w *Writer) write(p []byte) int {
	done := 0
	for done < len(p) {
		if w.size == w.layout.size(w.piece) && !w.next() {
			return done
		}
		part := p[done:min(len(p), done+int(w.layout.size(w.piece)-w.size))]
		n, err := w.file.Write(part)
		done += n
		w.size += int64(n)
		if err != nil {
			return done
		}
	}
	return done
}

// next begins a new piece, after making room for it.
func (w *Writer) next() bool {
	if oldest := w.piece + 1 - tailPieces; oldest > 0 {
		os.Remove(piecePath(w.dir, oldest))
	}
	file, err := createPiece(w.dir, w.piece+1)
	if err != nil {
		return false
	}
	w.file.Close()
	w.file, w.piece, w.size = file, w.piece+1, 0
	return true
}

// Close ends the log.
func (w *Writer) Close() error { return w.file.Close() }
