package runner

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// packed makes a compressed tar.
func packed(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	out := tar.NewWriter(zip)
	for _, h := range headers {
		assert.NilError(t, out.WriteHeader(&h))
		if h.Size < 1<<20 {
			_, err := out.Write(make([]byte, h.Size))
			assert.NilError(t, err)
		}
	}
	_ = out.Close() // what is cut short on purpose cannot be closed
	assert.NilError(t, zip.Close())
	return b.Bytes()
}

// TestUnpackAgent: whatever is in the place of a session's files, nothing is
// written outside of the agent's directory, nothing but files, and not too much.
func TestUnpackAgent(t *testing.T) {
	file := func(name string, size int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o777}
	}
	var many []tar.Header
	for i := range maxAgentFiles + 1 {
		many = append(many, file(fmt.Sprintf("codex/%d", i), 0))
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"parent":      {packed(t, file("../evil", 1)), "no file of an agent's session"},
		"absolute":    {packed(t, file("/tmp/evil", 1)), "no file of an agent's session"},
		"link":        {packed(t, tar.Header{Name: "codex", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), "no file of an agent's session"},
		"device":      {packed(t, tar.Header{Name: "codex", Typeflag: tar.TypeChar}), "no file of an agent's session"},
		"too large":   {packed(t, file("codex/a", maxAgentBytes+1)), "too large"},
		"too many":    {packed(t, many...), "more than 1000 files"},
		"no gzip":     {[]byte("hello"), "EOF"},
		"cut in half": {packed(t, file("codex/a", 2<<20)), "EOF"},
		"no tar":      {zipped(t, bytes.Repeat([]byte("x"), 2048)), "invalid tar header"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inside := filepath.Join(dir, "agent")
			assert.NilError(t, os.Mkdir(inside, 0o700))
			root, err := os.OpenRoot(inside)
			assert.NilError(t, err)
			defer func() { assert.NilError(t, root.Close()) }()
			assert.Assert(t, is.ErrorContains(unpack(bytes.NewReader(c.data), root), c.want))
			entries, err := os.ReadDir(dir)
			assert.NilError(t, err)
			assert.Equal(t, len(entries), 1)
		})
	}
	root, err := os.OpenRoot(t.TempDir())
	assert.NilError(t, err)
	defer func() { assert.NilError(t, root.Close()) }()
	assert.NilError(t, unpack(bytes.NewReader(packed(t, file("codex/sessions/a.jsonl", 5))), root))
	info, err := root.Stat("codex/sessions/a.jsonl")
	assert.NilError(t, err)
	assert.Equal(t, info.Mode().Perm(), os.FileMode(0o600))
	assert.Equal(t, info.Size(), int64(5))
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	_, err := zip.Write(data)
	assert.NilError(t, err)
	assert.NilError(t, zip.Close())
	return b.Bytes()
}
