//go:build linux

package containerdtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File is a file of an image. Mode 0 means 0644; a Link is a symbolic link.
type File struct {
	Name string
	Data []byte
	Mode int64
	Link string
}

// Busybox returns the files of an image with a shell and the usual tools, made of Debian's static busybox.
func Busybox(t testing.TB) []File {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		must(t, fmt.Errorf("%w: busybox is not installed: apt-get install busybox-static", ErrNotAvailable))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []File{{Name: "bin/busybox", Data: data, Mode: 0o755},
		{Name: "etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/sh\nbuilder:x:1234:1234::/home/builder:/bin/sh\n")},
		{Name: "etc/group", Data: []byte("root:x:0:\nbuilder:x:1234:\nextra:x:77:builder\n")}}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			files = append(files, File{Name: "bin/" + applet, Link: "busybox"})
		}
	}
	return files
}

// Image makes an image of one layer for this host's platform. config may change its configuration; it may be nil.
func Image(t testing.TB, files []File, config func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Data)), Typeflag: tar.TypeReg}
		if f.Mode == 0 {
			h.Mode = 0o644
		}
		if f.Link != "" {
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := buf.Bytes()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", runtime.GOARCH
	c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if config != nil {
		config(c)
	}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// Archive gives an image as "docker save" does, under a full name such as docker.io/library/x:1.
func Archive(t testing.TB, ref string, img v1.Image) []byte {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := tarball.Write(tag, img, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Registry is a registry on loopback.
type Registry struct {
	Host string // host:port
	srv  *httptest.Server
}

// NewRegistry starts a registry. wrap, if it is not nil, stands before it.
func NewRegistry(t testing.TB, wrap func(http.Handler) http.Handler) *Registry {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Registry{Host: strings.TrimPrefix(srv.URL, "http://"), srv: srv}
}

// Close stops the registry before the test ends.
func (r *Registry) Close() { r.srv.Close() }

// PushIndex pushes an image with variants and returns its reference.
func (r *Registry) PushIndex(t testing.TB, repo string, index v1.ImageIndex) string {
	t.Helper()
	ref, err := name.ParseReference(r.Host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if err := remote.WriteIndex(ref, index, remote.WithTransport(tr)); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// Push pushes an image and returns its reference.
func (r *Registry) Push(t testing.TB, repo string, img v1.Image, opts ...remote.Option) string {
	t.Helper()
	ref, err := name.ParseReference(r.Host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	if err := remote.Write(ref, img, append(opts, remote.WithTransport(tr))...); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

// Tools returns the files of an image with git and bash beside what Busybox has: this host's own, with the libraries they
// need.
func Tools(t testing.TB) []File {
	t.Helper()
	files := Busybox(t)
	seen := map[string]bool{}
	add := func(path string) {
		real, err := filepath.EvalSymlinks(path)
		if err != nil || seen[path] {
			return
		}
		seen[path] = true
		data, err := os.ReadFile(real)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: strings.TrimPrefix(path, "/"), Data: data, Mode: 0o755})
	}
	for _, program := range []string{"git", "bash"} {
		path, err := exec.LookPath(program)
		if err != nil {
			must(t, fmt.Errorf("%w: %s is not installed", ErrNotAvailable, program))
		}
		add("/usr/bin/" + filepath.Base(path))
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(out)) {
			if filepath.IsAbs(f) {
				add(f)
			}
		}
	}
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimPrefix(strings.TrimSpace(string(core)), "/")
	for _, part := range []string{"git-upload-pack", "git-receive-pack", "git"} {
		files = append(files, File{Name: dir + "/" + part, Link: "/usr/bin/git"})
	}
	for _, part := range []string{"git-upload-pack", "git-receive-pack", "git-upload-archive"} {
		files = append(files, File{Name: "usr/bin/" + part, Link: "git"})
	}
	return files
}
