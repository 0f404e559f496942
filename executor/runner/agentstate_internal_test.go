package runner

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/secrets"
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

// TestPackAgent: as many files as are kept can be brought back, a pipe in the
// place of one keeps nobody waiting, and what holds a secret is refused.
func TestPackAgent(t *testing.T) {
	x := &execution{redactor: secrets.NewRedactor(nil), opts: Options{Root: t.TempDir()}}
	assert.NilError(t, x.redactor.Add("TOKEN", "s3cr3t-Vq8Zk2Lm9Tx"))
	put := func(name, text string) string {
		path := filepath.Join(x.stateDir(), name)
		assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		assert.NilError(t, os.WriteFile(path, []byte(text), 0o600))
		return name
	}
	var names []string
	for i := range maxAgentFiles - 1 {
		names = append(names, put(fmt.Sprintf("codex/%d", i), "hello"))
	}
	assert.NilError(t, exec.Command("mkfifo", filepath.Join(x.stateDir(), "codex/pipe")).Run())
	names = append(names, "codex/pipe", put("codex/last", "the end"))
	var b bytes.Buffer
	assert.NilError(t, x.pack(&b, names))
	root, err := os.OpenRoot(t.TempDir())
	assert.NilError(t, err)
	defer func() { assert.NilError(t, root.Close()) }()
	assert.NilError(t, unpack(&b, root))
	last, err := root.ReadFile("codex/last")
	assert.NilError(t, err)
	assert.Equal(t, string(last), "the end")
	_, err = root.Lstat("codex/pipe")
	assert.ErrorIs(t, err, os.ErrNotExist)

	for _, bad := range []string{put("codex/held", "a s3cr3t-Vq8Zk2Lm9Tx b"), put("codex/s3cr3t-Vq8Zk2Lm9Tx", "")} {
		assert.ErrorContains(t, x.pack(io.Discard, []string{"codex/0", bad}), "it holds a secret (TOKEN)")
	}
}
