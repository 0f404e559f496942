package codeindex

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// Limits of an index.
const (
	// MaxFiles is how many files a repository may have.
	MaxFiles = 100_000
	// MaxBytes is how much text they may have together.
	MaxBytes = 1 << 30
	// MaxFileBytes is the largest file that is looked into: larger ones are data.
	MaxFileBytes = 1 << 20
)

// errTooLarge is a repository beyond MaxFiles or MaxBytes.
var errTooLarge = errors.New("the repository is too large to be indexed")

// errCorrupt is a stored index that is none.
var errCorrupt = errors.New("not a whole index")

// alphabet is how many characters the index tells apart: letters without case,
// digits, and groups of the others. What falls together costs a look into a
// file, and hides nothing.
const (
	alphabet = 64
	grams    = alphabet * alphabet * alphabet
)

// class gives the character of each byte.
var class = func() (c [256]uint32) {
	for b := range 256 {
		switch {
		case b >= 'a' && b <= 'z':
			c[b] = uint32(b - 'a')
		case b >= 'A' && b <= 'Z':
			c[b] = uint32(b - 'A')
		case b >= '0' && b <= '9':
			c[b] = 26 + uint32(b-'0')
		case b == '_':
			c[b] = 36
		case b <= ' ':
			c[b] = 37
		default:
			c[b] = 38 + uint32(b)%26
		}
	}
	return c
}()

// index says which files may have which words.
type index struct {
	head  header
	paths []string // in order; their places are the numbers in the lists
	// starts has for each gram where its list begins in lists; it ends where the
	// next begins. A list has the distances between numbers, as varints.
	starts [grams + 1]uint32
	lists  []byte
}

// header is what a stored index says of itself.
type header struct {
	Commit string `json:"commit"`
	Files  int    `json:"files"` // that are indexed
	Bytes  int64  `json:"bytes"` // of text in them
}

// builder collects what an index is made of.
type builder struct {
	lists [grams][]byte
	last  [grams]uint32 // number of the file that was added last, plus one
	seen  [grams / 64]uint64
	found []uint32
}

// add takes the next file.
func (b *builder) add(number int, text []byte) {
	if len(text) < 3 {
		return
	}
	g := class[text[0]]*alphabet + class[text[1]]
	for _, c := range text[2:] {
		g = (g*alphabet + class[c]) % grams
		if bit := uint64(1) << (g % 64); b.seen[g/64]&bit == 0 {
			b.seen[g/64] |= bit
			b.found = append(b.found, g)
		}
	}
	for _, g := range b.found {
		b.lists[g] = binary.AppendUvarint(b.lists[g], uint64(uint32(number)+1-b.last[g]))
		b.last[g] = uint32(number) + 1
		b.seen[g/64] = 0
	}
	b.found = b.found[:0]
}

// build reads the files, which are paths relative to root with slashes, and
// makes their index. What is no text, or is gone, is left out.
func build(ctx context.Context, root *os.Root, commit string, files []string) (*index, error) {
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("%w: it has %d files, at most %d are possible", errTooLarge, len(files), MaxFiles)
	}
	x, b := &index{head: header{Commit: commit}}, &builder{}
	var buf []byte
	for i, file := range files {
		if i%64 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := readText(root, file, buf)
		if err != nil {
			continue
		}
		buf = text[:0]
		if x.head.Bytes += int64(len(text)); x.head.Bytes > MaxBytes {
			return nil, fmt.Errorf("%w: it has more than %d bytes of text", errTooLarge, int64(MaxBytes))
		}
		b.add(len(x.paths), text)
		x.paths = append(x.paths, file)
	}
	x.head.Files = len(x.paths)
	total := 0
	for g := range b.lists {
		total += len(b.lists[g])
	}
	if total > math.MaxUint32 {
		return nil, errTooLarge
	}
	x.lists = make([]byte, 0, total)
	for g := range b.lists {
		x.starts[g] = uint32(len(x.lists))
		x.lists = append(x.lists, b.lists[g]...)
	}
	x.starts[grams] = uint32(len(x.lists))
	return x, nil
}

var errNoText = errors.New("is not text")

// readText reads a text file into buf, if it has room. It looks at the file
// first: to open a pipe waits for a writer.
func readText(root *os.Root, file string, buf []byte) ([]byte, error) {
	info, err := root.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFileBytes {
		return nil, errNoText
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if size := int(info.Size()) + 1; cap(buf) < size {
		buf = make([]byte, 0, size+size/2)
	}
	out := bytes.NewBuffer(buf[:0])
	if _, err := out.ReadFrom(io.LimitReader(f, MaxFileBytes)); err != nil {
		return nil, err
	}
	text := out.Bytes()
	if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
		return nil, errNoText
	}
	return text, nil
}

// magic begins a stored index; the last character is the version.
const magic = "oz-code-index-1\n"

// encode writes an index: magic, a checksum of the rest, the header, the paths,
// and the lists with their lengths.
func (x *index) encode() ([]byte, error) {
	head, err := json.Marshal(x.head)
	if err != nil {
		return nil, err
	}
	body := binary.AppendUvarint(nil, uint64(len(head)))
	body = append(body, head...)
	for _, p := range x.paths {
		body = binary.AppendUvarint(body, uint64(len(p)))
		body = append(body, p...)
	}
	for g := range grams {
		body = binary.AppendUvarint(body, uint64(x.starts[g+1]-x.starts[g]))
	}
	body = append(body, x.lists...)
	sum := sha256.Sum256(body)
	return append(append([]byte(magic), sum[:]...), body...), nil
}

// decode reads a stored index. It fails with errCorrupt.
func decode(data []byte) (*index, error) {
	const start = len(magic) + sha256.Size
	if len(data) < start || string(data[:len(magic)]) != magic {
		return nil, errCorrupt
	}
	if sum := sha256.Sum256(data[start:]); !bytes.Equal(sum[:], data[len(magic):start]) {
		return nil, errCorrupt
	}
	return parse(data[start:])
}

// parse reads what the checksum covers.
func parse(data []byte) (*index, error) {
	next := func() (uint64, bool) {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			return 0, false
		}
		data = data[size:]
		return n, true
	}
	take := func() ([]byte, bool) {
		n, ok := next()
		if !ok || n > uint64(len(data)) {
			return nil, false
		}
		part := data[:n]
		data = data[n:]
		return part, true
	}
	x := &index{}
	head, ok := take()
	if !ok || json.Unmarshal(head, &x.head) != nil || x.head.Files < 0 || x.head.Files > MaxFiles {
		return nil, errCorrupt
	}
	if id, err := hex.DecodeString(x.head.Commit); err != nil || len(id) < 20 { // git gets it as an argument
		return nil, errCorrupt
	}
	for range x.head.Files {
		p, ok := take()
		if !ok || !filepath.IsLocal(filepath.FromSlash(string(p))) {
			return nil, errCorrupt
		}
		x.paths = append(x.paths, string(p))
	}
	total := uint64(0)
	for g := range grams {
		n, ok := next()
		if total += n; !ok || n > math.MaxUint32 || total > math.MaxUint32 {
			return nil, errCorrupt
		}
		x.starts[g+1] = uint32(total)
	}
	if total != uint64(len(data)) {
		return nil, errCorrupt
	}
	x.lists = data
	return x, nil
}

// files marks the files that may have a word, in small letters or not. It
// reports false for a word that is too short to tell.
func (x *index) files(word string) (set []bool, count int, ok bool) {
	if len(word) < 3 {
		return nil, 0, false
	}
	hits := make([]uint16, len(x.paths))
	want := uint16(0)
	seen := map[uint32]bool{}
	for i := 2; i < len(word); i++ {
		g := (class[word[i-2]]*alphabet+class[word[i-1]])*alphabet + class[word[i]]
		if seen[g] {
			continue
		}
		seen[g] = true
		list, at := x.lists[x.starts[g]:x.starts[g+1]], uint64(0)
		for len(list) > 0 {
			d, size := binary.Uvarint(list)
			if size <= 0 {
				break // checked by the checksum; nothing to find behind it
			}
			list = list[size:]
			if at += d; at == 0 || at > uint64(len(hits)) {
				break
			}
			if hits[at-1] == want {
				hits[at-1]++
			}
		}
		want++
	}
	set = make([]bool, len(hits))
	for i, n := range hits {
		if n == want {
			set[i] = true
			count++
		}
	}
	return set, count, true
}
