//go:build linux

package containerd_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/containerd"
	"github.com/oz-platform/cloudagents/internal/containerdtest"
)

// smallRoot is a root on a disk of 24 MiB.
func smallRoot(t *testing.T, d *containerdtest.Daemon) string {
	t.Helper()
	root, err := os.MkdirTemp(d.Dir(), "full")
	assert.NilError(t, err)
	assert.NilError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=24m,mode=700"))
	t.Cleanup(func() { assert.Check(t, unix.Unmount(root, unix.MNT_DETACH)) })
	load(t, d, root, archiveOf(t))
	return root
}

// TestDiskFull: on a full disk a running sandbox sees what a process sees there, a new one fails with an error that says
// so, a kept state is not copied, and nothing is left. With room again all is as before.
func TestDiskFull(t *testing.T) {
	d := containerdtest.Shared(t)
	root := smallRoot(t, d)
	e := open(t, d, root, containerd.Options{WarmStates: 2})
	const prepare = "head -c 6000000 /dev/zero > file"
	start(t, e, warmSpec("first", "true", prepare))
	states(t, root, 1)
	hog := start(t, e, script("hog", "echo begin; dd if=/dev/zero of=fill bs=64k 2>&1 | grep -o 'No space.*'; rm fill; head -c 14000000 /dev/zero > fill; echo end; exit 3"))
	assert.Equal(t, output(t, hog), "begin\nNo space left on device\nend\n")
	assert.Equal(t, wait(t, hog), executor.Exit{Code: 3})

	// No room for a copy: the sandbox starts cold.
	s := start(t, e, warmSpec("second", "ls", prepare))
	assert.Equal(t, executor.OriginOf(s), executor.OriginCold)
	assert.Equal(t, output(t, s), "")

	fill := filepath.Join(root, "workspaces/w-hog/more")
	f, err := os.Create(fill)
	assert.NilError(t, err)
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	assert.NilError(t, f.Close())
	_, err = e.Start(newContext(t), script("none", "echo hello"))
	assert.ErrorContains(t, err, "no space left on device")
	ids, err := e.List(newContext(t))
	assert.NilError(t, err)
	assert.DeepEqual(t, ids, []string{"first", "hog", "second"})

	assert.NilError(t, hog.Remove(newContext(t)))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w-hog"))
	assert.Equal(t, output(t, start(t, e, script("none", "echo hello"))), "hello\n")
	assert.Equal(t, executor.OriginOf(start(t, e, warmSpec("third", "ls", prepare))), executor.OriginWarm)
	for _, id := range []string{"first", "second", "none", "third"} {
		s, err := e.Open(newContext(t), id)
		assert.NilError(t, err)
		wait(t, s)
		assert.NilError(t, s.Remove(newContext(t)))
	}
	settled(t, d, e, root)
}

// smallDaemon is a containerd of its own on a disk of 48 MiB, and how much room that has.
func smallDaemon(t *testing.T) (d *containerdtest.Daemon, free func() int64) {
	t.Helper()
	d = containerdtest.New(t)
	assert.NilError(t, d.Kill())
	disk := filepath.Join(d.Dir(), "root")
	assert.NilError(t, os.RemoveAll(disk))
	assert.NilError(t, os.Mkdir(disk, 0o711))
	assert.NilError(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=48m,mode=711"))
	assert.NilError(t, d.Start())
	return d, func() int64 {
		var fs unix.Statfs_t
		assert.NilError(t, unix.Statfs(disk, &fs))
		return int64(fs.Bavail) * fs.Bsize
	}
}

// tooLarge is an image that does not fit there: its layer does not, or only what is unpacked from it.
func tooLarge(t *testing.T, packed bool) v1.Image {
	t.Helper()
	data := make([]byte, 64<<20)
	if !packed {
		_, err := rand.NewChaCha8([32]byte{1}).Read(data)
		assert.NilError(t, err)
	}
	return containerdtest.Image(t, append(containerdtest.Busybox(t), containerdtest.File{Name: "large", Data: data}), nil)
}

// roomAgain checks that a fetch that failed has left nothing, at once.
func roomAgain(t *testing.T, free func() int64, before int64) {
	t.Helper()
	now := free()
	assert.Assert(t, now >= before-(1<<20), "%d free, %d before", now, before)
}

// TestContainerdDiskFull: an image that does not fit on containerd's disk is an error that says so, and has left nothing
// when it is returned; what is there works on.
func TestContainerdDiskFull(t *testing.T) {
	d, free := smallDaemon(t)
	root := newRoot(t, d)
	registry := containerdtest.NewRegistry(t, nil)
	e := open(t, d, root, containerd.Options{})
	assert.Equal(t, output(t, start(t, e, script("before", "echo hello"))), "hello\n")
	room := free()
	for name, packed := range map[string]bool{"blob": false, "files": true} {
		ref := registry.Push(t, name+":1", tooLarge(t, packed))
		spec := script(name, "true")
		spec.Image = executor.Image{Reference: ref}
		_, err := e.Start(newContext(t), spec)
		assert.ErrorContains(t, err, "pull image "+ref+": no space left on this host's disk for containerd's data")
		roomAgain(t, free, room)
		assert.Assert(t, !isImageError(err), "nobody can mend that with another image")
		_, err = e.Open(newContext(t), name)
		assert.ErrorIs(t, err, executor.ErrNotFound)
		assert.Assert(t, !strings.Contains(ctr(t, d, containerd.NamespaceOf(root), "images", "ls", "-q"), ref))
		assert.Equal(t, output(t, start(t, e, script("after-"+name, "echo hello"))), "hello\n")
	}
}

// TestImportDiskFull: so it is with an archive that does not fit, and with an imported image whose files do not.
func TestImportDiskFull(t *testing.T) {
	d, free := smallDaemon(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	assert.Equal(t, output(t, start(t, e, script("before", "echo hello"))), "hello\n")
	room := free()
	_, err := e.Import(newContext(t), bytes.NewReader(containerdtest.Archive(t, "docker.io/library/blob:1", tooLarge(t, false))))
	assert.ErrorContains(t, err, "import images: no space left on this host's disk for containerd's data")
	roomAgain(t, free, room)

	_, err = e.Import(newContext(t), bytes.NewReader(containerdtest.Archive(t, "docker.io/library/files:1", tooLarge(t, true))))
	assert.NilError(t, err)
	room = free()
	spec := script("files", "true")
	spec.Image = executor.Image{Reference: "files:1"}
	_, err = e.Start(newContext(t), spec)
	assert.ErrorContains(t, err, "unpack image docker.io/library/files:1: no space left on this host's disk for containerd's data")
	roomAgain(t, free, room)
	assert.Equal(t, output(t, start(t, e, script("after", "echo hello"))), "hello\n")
}

// fill takes all of containerd's disk but room bytes.
func fill(t *testing.T, d *containerdtest.Daemon, room int) {
	t.Helper()
	spare := filepath.Join(d.Dir(), "root", "spare")
	assert.NilError(t, os.WriteFile(spare, make([]byte, room), 0o600))
	f, err := os.Create(filepath.Join(d.Dir(), "root", "fill"))
	assert.NilError(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	assert.NilError(t, os.Remove(spare))
}

const diskFull = "no space left on this host's disk for containerd's data"

// TestContainerdDiskFullToTheLastByte: on a disk without a byte, or with next to none, before the first snapshot and after
// it, a sandbox fails to start with an error that says so, before containerd comes to harm, and nothing of it is left.
// Sandboxes that are there go on, and can be removed.
func TestContainerdDiskFullToTheLastByte(t *testing.T) {
	for _, room := range []int{0, 4 << 20} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			d, free := smallDaemon(t)
			root := newRoot(t, d)
			e := open(t, d, root, containerd.Options{})
			spare := filepath.Join(d.Dir(), "root", "fill")
			fill(t, d, room)
			assert.Equal(t, free(), int64(room))
			_, err := e.Start(newContext(t), script("first", "echo hello"))
			assert.ErrorContains(t, err, "start sandbox first: "+diskFull)
			assert.Assert(t, !isImageError(err), "nobody can mend that with another image")
			assert.ErrorContains(t, e.Pull(newContext(t), executor.Image{Reference: testImage}), "pull image "+testImage+": "+diskFull)
			_, err = e.Import(newContext(t), bytes.NewReader(archiveOf(t)))
			assert.ErrorContains(t, err, "import images: "+diskFull)
			left(t, d, e, root)

			assert.NilError(t, os.Remove(spare))
			there := start(t, e, script("there", "head -c 1000000 /dev/zero > $TMPDIR/file; echo begin; exec sleep 600"))
			until(t, there, "begin")
			fill(t, d, room)
			_, err = e.Start(newContext(t), script("second", "echo hello"))
			assert.ErrorContains(t, err, "start sandbox second: "+diskFull)
			assert.NilError(t, there.Remove(newContext(t)))
			left(t, d, e, root)
			assert.NilError(t, os.Remove(spare))
			assert.Equal(t, output(t, start(t, e, script("second", "echo hello"))), "hello\n")
		})
	}
}

// TestContainerFillsTheDisk: an agent without a limit fills containerd's disk to the last byte: it sees that, its end is
// told, and its container can be removed, which makes room again.
func TestContainerFillsTheDisk(t *testing.T) {
	d, free := smallDaemon(t)
	root := newRoot(t, d)
	e := open(t, d, root, containerd.Options{})
	assert.Equal(t, output(t, start(t, e, script("before", "echo hello"))), "hello\n")
	room := free()
	hog := start(t, e, script("hog", "for bs in 1048576 4096 1; do dd if=/dev/zero bs=$bs 2>/dev/null >> $TMPDIR/$bs; done; echo full; exit 3"))
	assert.Equal(t, output(t, hog), "full\n")
	assert.Equal(t, wait(t, hog), executor.Exit{Code: 3})
	assert.Equal(t, free(), int64(0))
	_, err := e.Start(newContext(t), script("next", "echo hello"))
	assert.ErrorContains(t, err, diskFull)
	assert.NilError(t, hog.Remove(newContext(t)))
	roomAgain(t, free, room)
	assert.Equal(t, output(t, start(t, e, script("next", "echo hello"))), "hello\n")
}
