//go:build linux

package containerd_test

import (
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// TestPruneImages: images that were not used for a time go, with their files, then those least recently used until the rest
// is small enough; what is in use, the default image and what was imported stay. One that went is pulled again.
func TestPruneImages(t *testing.T) {
	d := containerdtest.New(t)
	root := newRoot(t, d)
	registry := containerdtest.NewRegistry(t, nil)
	ns := containerd.NamespaceOf(root)
	images := func() (names []string) {
		for name := range strings.FieldsSeq(ctr(t, d, ns, "images", "ls", "-q")) {
			names = append(names, name[strings.LastIndex(name, "/")+1:])
		}
		return names
	}
	e := open(t, d, root, containerd.Options{ImageAge: time.Hour})
	e.PruneSoon()
	var refs []string
	for _, word := range []string{"a", "b", "c"} {
		ref := registry.Push(t, word+":1", which(t, word))
		refs = append(refs, ref)
		said, err := says(t, e, "first-"+word, executor.Image{Reference: ref})
		assert.NilError(t, err)
		assert.Equal(t, said, word)
	}
	assert.DeepEqual(t, images(), []string{"a:1", "b:1", "c:1", "tools:1"})
	assert.NilError(t, e.Prune(time.Now()))
	assert.DeepEqual(t, images(), []string{"a:1", "b:1", "c:1", "tools:1"})

	spec := executor.Spec{ID: "holds-b", Workspace: "w-b", Command: []string{"sleep", "1000"}, Image: executor.Image{Reference: refs[1]}}
	holds := start(t, e, spec)
	before := len(strings.Split(ctr(t, d, ns, "snapshots", "ls"), "\n"))
	assert.NilError(t, e.Prune(time.Now().Add(2*time.Hour)))
	assert.DeepEqual(t, images(), []string{"b:1", "tools:1"})
	for ctx := newContext(t); ; { // their files go a little later
		if len(strings.Split(ctr(t, d, ns, "snapshots", "ls"), "\n")) == before-2 {
			break
		}
		assert.NilError(t, ctx.Err())
		_ = pauseFor(t, 20)
	}
	said, err := says(t, e, "again-a", executor.Image{Reference: refs[0]})
	assert.NilError(t, err)
	assert.Equal(t, said, "a")
	assert.NilError(t, holds.Remove(newContext(t)))

	// A later process knows what was used when, and by bytes the least recently used go first.
	small := open(t, d, root, containerd.Options{ImageDisk: 1})
	small.PruneSoon()
	for ctx := newContext(t); ; {
		assert.NilError(t, small.Prune(time.Now().Add(time.Minute)))
		if now := images(); len(now) == 1 && now[0] == "tools:1" {
			break
		}
		assert.NilError(t, ctx.Err(), "%q", images())
		_ = pauseFor(t, 20)
	}
	said, err = says(t, small, "last", executor.Image{Reference: refs[2]})
	assert.NilError(t, err)
	assert.Equal(t, said, "c")
	left(t, d, small, root)
}

// TestPruneSparesTheRecent: an image that a Start may be about to use is not removed, however small the room.
func TestPruneSparesTheRecent(t *testing.T) {
	d := containerdtest.Shared(t)
	root := newRoot(t, d)
	registry := containerdtest.NewRegistry(t, nil)
	e := open(t, d, root, containerd.Options{ImageDisk: 1})
	ref := registry.Push(t, "a:1", which(t, "a"))
	_, err := says(t, e, "a", executor.Image{Reference: ref})
	assert.NilError(t, err)
	assert.NilError(t, e.Prune(time.Now()))
	assert.Assert(t, strings.Contains(ctr(t, d, containerd.NamespaceOf(root), "images", "ls", "-q"), ref))
}
