//go:build linux

package containerd_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// basicAuth lets only one user in.
func basicAuth(user, password string) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// says starts a sandbox from an image that says which one it is.
func says(t *testing.T, e executor.Executor, id string, img executor.Image) (string, error) {
	t.Helper()
	s, err := e.Start(newContext(t), executor.Spec{ID: id, Workspace: "w-" + id, Command: []string{"cat", "/which"}, Image: img})
	if err != nil {
		return "", err
	}
	defer func() { assert.Check(t, s.Remove(newContext(t))) }()
	return output(t, s), nil
}

// which is the test image with a file that says which one it is.
func which(t testing.TB, word string) v1.Image {
	return containerdtest.Image(t, append(containerdtest.Busybox(t), containerdtest.File{Name: "which", Data: []byte(word)}), nil)
}

// TestPull: an image that is not here comes from its registry, is asked for again only by the policy, and is not asked for
// when it may not be.
func TestPull(t *testing.T) {
	d := containerdtest.Shared(t)
	var asked atomic.Int32
	reg := containerdtest.NewRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				asked.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	})
	ref := reg.Push(t, "team/tools:1", which(t, "first"))
	e := open(t, d, newRoot(t, d), containerd.Options{})
	_, err := says(t, e, "never", executor.Image{Reference: ref, Pull: executor.PullNever})
	assert.ErrorIs(t, err, executor.ErrImage)
	assert.ErrorContains(t, err, "policy is never")
	got, err := says(t, e, "a", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.Equal(t, got, "first")

	reg.Push(t, "team/tools:1", which(t, "second"))
	before := asked.Load()
	got, err = says(t, e, "b", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.Equal(t, got, "first", "what is here is used")
	assert.Equal(t, asked.Load(), before)
	got, err = says(t, e, "c", executor.Image{Reference: ref, Pull: executor.PullAlways})
	assert.NilError(t, err)
	assert.Equal(t, got, "second")
	got, err = says(t, e, "d", executor.Image{Reference: ref, Pull: executor.PullNever})
	assert.NilError(t, err)
	assert.Equal(t, got, "second")
}

// TestPullAtOnce: many sandboxes that want the same missing image pull it once.
func TestPullAtOnce(t *testing.T) {
	d := containerdtest.Shared(t)
	var layers atomic.Int32
	reg := containerdtest.NewRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				layers.Add(1)
			}
			h.ServeHTTP(w, r)
		})
	})
	ref := reg.Push(t, "tools:1", which(t, t.Name()))
	e := open(t, d, newRoot(t, d), containerd.Options{})
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() { assert.Check(t, e.Pull(newContext(t), executor.Image{Reference: ref})) })
	}
	group.Wait()
	assert.Equal(t, layers.Load(), int32(2), "the configuration and one layer, once")
}

// TestCredentials go to the registry they are for, and what a registry refuses is told so, without them.
func TestCredentials(t *testing.T) {
	d := containerdtest.Shared(t)
	reg := containerdtest.NewRegistry(t, basicAuth("robot", "pa55-word"))
	img := which(t, "secret")
	ref := reg.Push(t, "private:1", img, remote.WithAuth(&authn.Basic{Username: "robot", Password: "pa55-word"}))
	with := func(r containerd.Registry) *containerd.Executor {
		return open(t, d, newRoot(t, d), containerd.Options{Registries: map[string]containerd.Registry{reg.Host: r}})
	}
	for name, r := range map[string]containerd.Registry{"none": {}, "wrong": {Username: "robot", Password: "wr0ng-word"}} {
		_, err := says(t, with(r), "x", executor.Image{Reference: ref})
		assert.ErrorIs(t, err, executor.ErrImage, name)
		assert.ErrorContains(t, err, "credentials missing or wrong")
		assert.Assert(t, !strings.Contains(err.Error(), "word"), err)
	}
	got, err := says(t, with(containerd.Registry{Username: "robot", Password: "pa55-word"}), "x", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.Equal(t, got, "secret")

	// Another registry does not get to see them.
	var seen atomic.Bool
	other := containerdtest.NewRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen.Store(seen.Load() || r.Header.Get("Authorization") != "")
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	_, err = says(t, with(containerd.Registry{Username: "robot", Password: "pa55-word"}), "y", executor.Image{Reference: other.Host + "/x:1"})
	assert.ErrorIs(t, err, executor.ErrImage)
	assert.Assert(t, !seen.Load())
}

// TestMirror: a mirror is asked first, and the registry itself when the mirror is away.
func TestMirror(t *testing.T) {
	d := containerdtest.Shared(t)
	mirror, origin := containerdtest.NewRegistry(t, nil), containerdtest.NewRegistry(t, nil)
	mirror.Push(t, "prefix/tools:1", which(t, "from the mirror"))
	ref := origin.Push(t, "tools:1", which(t, "from the origin"))
	opts := containerd.Options{Registries: map[string]containerd.Registry{origin.Host: {Mirrors: []string{"http://" + mirror.Host + "/"}}}}
	mirror.Push(t, "tools:1", which(t, "from the mirror"))
	got, err := says(t, open(t, d, newRoot(t, d), opts), "x", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.Equal(t, got, "from the mirror")
	mirror.Close()
	got, err = says(t, open(t, d, newRoot(t, d), opts), "x", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.Equal(t, got, "from the origin")
}

// TestBadImages: each has an error that says what is wrong, and leaves nothing. Only what the user can mend is ErrImage.
func TestBadImages(t *testing.T) {
	d := containerdtest.Shared(t)
	reg := containerdtest.NewRegistry(t, nil)
	gone := containerdtest.NewRegistry(t, nil)
	gone.Close()
	broken := containerdtest.NewRegistry(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	})
	foreign := containerdtest.Image(t, containerdtest.Busybox(t), func(c *v1.ConfigFile) { c.Architecture = "s390x" })
	foreignRef := reg.Push(t, "foreign:1", foreign)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: foreign,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	indexRef := reg.PushIndex(t, "many:1", index)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	for _, tt := range []struct {
		name  string
		image executor.Image
		user  bool // whose to mend
		want  string
	}{
		{"malformed", executor.Image{Reference: "UPPER/case:::"}, true, "is no image name"},
		{"missing", executor.Image{Reference: reg.Host + "/nothing:1"}, true, "there is no image"},
		{"missing tag", executor.Image{Reference: reg.Host + "/foreign:2"}, true, "there is no image"},
		{"other platform", executor.Image{Reference: foreignRef}, true, "no variant for linux/"},
		{"other platforms", executor.Image{Reference: indexRef}, true, "no variant for linux/"},
		{"wanted platform", executor.Image{Reference: foreignRef, Platform: "linux/s390x"}, true, "this host runs linux/"},
		{"registry down", executor.Image{Reference: gone.Host + "/x:1"}, false, "cannot be reached"},
		{"registry broken", executor.Image{Reference: broken.Host + "/x:1"}, false, "500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := says(t, e, "x", tt.image)
			assert.ErrorContains(t, err, tt.want)
			assert.Equal(t, isImageError(err), tt.user, "%v", err)
			left(t, d, e, root)
		})
	}
}

// TestRegistryHangs: a start ends with its context, also in the middle of a pull, and leaves nothing.
func TestRegistryHangs(t *testing.T) {
	d := containerdtest.Shared(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	reg := containerdtest.NewRegistry(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
	})
	defer close(release)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	_, err := e.Start(ctx, executor.Spec{ID: "x", Workspace: "x", Command: []string{"true"}, Image: executor.Image{Reference: reg.Host + "/x:1"}})
	assert.ErrorIs(t, err, context.Canceled)
	left(t, d, e, root)
}

// TestImport: archives are refused with a reason when they hold nothing of use.
func TestImport(t *testing.T) {
	d := containerdtest.Shared(t)
	e := open(t, d, newRoot(t, d), containerd.Options{})
	names, err := e.Import(t.Context(), bytes.NewReader(containerdtest.Archive(t, "docker.io/library/imported:2", which(t, "imported"))))
	assert.NilError(t, err)
	assert.DeepEqual(t, names, []string{"docker.io/library/imported:2"})
	got, err := says(t, e, "x", executor.Image{Reference: "imported:2"})
	assert.NilError(t, err)
	assert.Equal(t, got, "imported")
	_, err = e.Import(t.Context(), strings.NewReader("no archive"))
	assert.Assert(t, err != nil)
}

// TestBareImages: an image needs nothing but what the main command needs.
func TestBareImages(t *testing.T) {
	d := containerdtest.Shared(t)
	bin := staticProgram(t)
	archive := containerdtest.Archive(t, "docker.io/library/bare:1",
		containerdtest.Image(t, []containerdtest.File{{Name: "hello", Data: bin, Mode: 0o755}}, func(c *v1.ConfigFile) { c.Config.Env = nil }))
	e := open(t, d, newRoot(t, d), containerd.Options{})
	_, err := e.Import(t.Context(), bytes.NewReader(archive))
	assert.NilError(t, err)
	s, err := e.Start(newContext(t), executor.Spec{ID: "x", Workspace: "x", Command: []string{"/hello"}, Image: executor.Image{Reference: "bare:1"}})
	assert.NilError(t, err)
	exit, err := s.Wait(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, exit, executor.Exit{Code: 2}, "the program's own status")
	assert.NilError(t, s.Remove(newContext(t)))
}
