package secrets

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oz-platform/cloudagents/task"
)

// RedactorOptions bounds a Redactor. The zero value is ready to use.
type RedactorOptions struct {
	// MaxValues is how many values may be added. Default 1000.
	MaxValues int

	// MaxBytes bounds the values together, in bytes. Default 1 MiB, half of all the
	// environment that Linux gives a process with its usual stack of 8 MiB. The
	// redactor itself needs 30 times the size of long values, up to 200 times for
	// tokens and keys, and 500 times for values that consist of very short lines.
	MaxBytes int
}

func (o *RedactorOptions) withDefaults() RedactorOptions {
	if o == nil {
		o = &RedactorOptions{}
	}
	return RedactorOptions{MaxValues: cmp.Or(o.MaxValues, 1000), MaxBytes: cmp.Or(o.MaxBytes, 1<<20)}
}

// Redactor replaces secrets, in every form they are likely to take, by
// [redacted:NAME]. It is safe for concurrent use. See the package comment for the
// forms.
type Redactor struct {
	opts     RedactorOptions
	scanners sync.Pool
	compiled atomic.Pointer[matcher] // nil: values were added

	mu       sync.Mutex
	added    map[addition]bool
	fresh    []addition // those that patterns has nothing of yet, in order
	bytes    int
	patterns []pattern
}

// addition is one value known under one name.
type addition struct{ name, value string }

// NewRedactor returns a Redactor that knows no secrets yet. opts may be nil.
func NewRedactor(opts *RedactorOptions) *Redactor {
	r := &Redactor{opts: opts.withDefaults(), added: map[addition]bool{}}
	r.scanners.New = func() any { return new(scanner) }
	return r
}

// Add makes value secret under name from now on: for later calls, and for the next
// Write of every writer, which then also covers what that writer holds back. A name
// may have several values, such as those before and after a rotation.
//
// It returns a [task.CodeInvalidRequest] error, and the value is NOT redacted, if
// CheckValue refuses it, if the name cannot stand in a replacement, or if a limit of
// the options is reached. A caller that goes on after that leaks.
func (r *Redactor) Add(name, value string) error {
	a := addition{name, value}
	r.mu.Lock()
	known := r.added[a]
	r.mu.Unlock()
	if known {
		return nil
	}
	if err := checkLabel(name); err != nil {
		return err
	}
	if err := CheckValue(value); err != nil {
		return fmt.Errorf("secret %s cannot be redacted: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.added[a] {
		return nil
	}
	if err := r.admit(a); err != nil {
		return err
	}
	r.added[a] = true
	r.bytes += len(value)
	r.fresh = append(r.fresh, a)
	r.compiled.Store(nil)
	return nil
}

// admit checks a against what is already known. r.mu is held.
func (r *Redactor) admit(a addition) error {
	if len(r.added) >= r.opts.MaxValues {
		return task.Invalid("secrets", "secret %s is one too many: at most %d values can be redacted; give the run fewer", a.name, r.opts.MaxValues)
	}
	if r.bytes+len(a.value) > r.opts.MaxBytes {
		return task.Invalid("secrets", "with secret %s the values exceed %d bytes together; give the run fewer or smaller ones", a.name, r.opts.MaxBytes)
	}
	// A marker must not spell out a value. The messages leave the marker's name out.
	if strings.Contains(marker(a.name), a.value) {
		return task.Invalid("secrets", "the value of a secret is part of its own name; choose another value or name")
	}
	for known := range r.added {
		holder := ""
		if strings.Contains(marker(known.name), a.value) {
			holder = a.name
		} else if strings.Contains(marker(a.name), known.value) {
			holder = known.name
		}
		if holder != "" {
			return task.Invalid("secrets", "the value of secret %s is part of the name of another secret; choose another value", holder)
		}
	}
	return nil
}

// checkLabel keeps names from breaking the replacement, or a terminal.
func checkLabel(name string) error {
	ok := name != "" && len(name) <= MaxNameBytes
	for i := range len(name) {
		c := name[i]
		ok = ok && (isBase64(c) && c != '+' && c != '/' || c == '.')
	}
	if !ok {
		return task.Invalid("name", "a redacted secret is named by 1 to %d letters, digits, '_', '-' and '.'; %q is no such name", MaxNameBytes, name)
	}
	return nil
}

// marker is what replaces the secret called name.
func marker(name string) string { return "[redacted:" + name + "]" }

// matcher returns the compiled patterns. They are made and compiled when first
// needed: adding many values costs one compilation, and a redactor that is never
// used costs none.
func (r *Redactor) matcher() *matcher {
	if m := r.compiled.Load(); m != nil {
		return m
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.compiled.Load()
	if m == nil {
		for _, a := range r.fresh {
			r.patterns = append(r.patterns, patterns(a.name, a.value)...)
		}
		r.fresh = nil
		m = newMatcher(r.patterns)
		r.compiled.Store(m)
	}
	return m
}

// Bytes returns text with the secrets replaced. The result shares memory with text
// if there are none. A text that ends within a secret, half of it or more, loses that
// half too.
func (r *Redactor) Bytes(text []byte) []byte {
	s := r.scanners.Get().(*scanner)
	defer r.scanners.Put(s)
	s.scan(r.matcher(), text, true)
	if len(s.spans) == 0 {
		return text
	}
	var st sweep
	return st.write(nil, text, s.spans, len(text))
}

// String is Bytes for strings.
func (r *Redactor) String(text string) string {
	if redacted := r.Bytes([]byte(text)); string(redacted) != text {
		return string(redacted)
	}
	return text
}

// Contains returns the names of the secrets found in text, sorted; nil if there are
// none. Of several names for one value it returns the first in order.
func (r *Redactor) Contains(text []byte) []string {
	s := r.scanners.Get().(*scanner)
	defer r.scanners.Put(s)
	s.scan(r.matcher(), text, true)
	return names(s.spans)
}

// Scan reads src to its end and returns the names of the secrets in it, like
// Contains, with the memory of a writer. It is made to refuse a commit or an artifact.
func (r *Redactor) Scan(src io.Reader) ([]string, error) {
	w := r.Writer(io.Discard)
	w.found = map[string]bool{}
	if _, err := io.Copy(onlyWriter{w}, src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var all []string
	for name := range w.found {
		all = append(all, name)
	}
	slices.Sort(all)
	return all, nil
}

// onlyWriter keeps io.Copy from looking for other methods.
type onlyWriter struct{ io.Writer }

func names(spans []span) []string {
	var all []string
	for _, s := range spans {
		all = append(all, s.name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sweep turns spans into output. It remembers, from one buffer of a stream to the
// next, the secret that the output ended in.
type sweep struct {
	name  string // the last thing written was the marker of this secret; else ""
	carry int    // so many bytes of the next buffer belong to it as well
}

// write appends buf[:cut] to out with the spans, which are in order, replaced.
// Overlapping spans are replaced as one, touching ones of one secret too, so that the
// output tells nothing of lengths.
func (st *sweep) write(out, buf []byte, spans []span, cut int) []byte {
	done := st.carry
	for _, s := range spans {
		if s.start >= cut {
			break
		}
		if s.end <= done {
			continue
		}
		if s.start > done {
			out = append(out, buf[done:s.start]...)
			st.name = ""
		}
		if s.name != st.name {
			out = append(append(append(out, "[redacted:"...), s.name...), ']')
			st.name = s.name
		}
		done = s.end
	}
	if done < cut {
		out = append(out, buf[done:cut]...)
		st.name = ""
	}
	st.carry = max(0, done-cut)
	return out
}
