//go:build linux

package pid1

import (
	"bytes"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

const (
	testUsers  = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1234:1235::/home/builder:/bin/sh\nbad\nrootless:x:9:9::relative:/bin/sh\n"
	testGroups = "root:x:0:\nbuild:x:1235:\nextra:x:77:builder,other\nbroken\n"
)

// TestResolve: users and groups by name and by number.
func TestResolve(t *testing.T) {
	users, groups := parsePasswd(testUsers), parseGroup(testGroups)
	for _, tt := range []struct {
		want string
		uid  uint32
		gid  uint32
		home string
		more int // groups beside the first
		bad  string
	}{
		{want: "root", home: "/root"},
		{want: "builder", uid: 1234, gid: 1235, home: "/home/builder", more: 1},
		{want: "1234", uid: 1234, gid: 1235, home: "/home/builder", more: 1},
		{want: "builder:extra", uid: 1234, gid: 77, home: "/home/builder"},
		{want: "builder:5", uid: 1234, gid: 5, home: "/home/builder", more: 1},
		{want: "4711", uid: 4711, home: agentHome},
		{want: "rootless", uid: 9, gid: 9, home: agentHome},
		{want: "nobody", bad: `no user "nobody"`},
		{want: "builder:nothing", bad: `no group "nothing"`},
		{want: "4294967295", bad: "no user"},
		{want: "-1", bad: "no user"},
	} {
		a, err := resolve(tt.want, users, groups)
		if tt.bad != "" {
			assert.ErrorContains(t, err, tt.bad)
			continue
		}
		assert.NilError(t, err)
		assert.Equal(t, a.uid, tt.uid, tt.want)
		assert.Equal(t, a.gid, tt.gid, tt.want)
		assert.Equal(t, a.home, tt.home, tt.want)
		assert.Equal(t, len(a.groups), tt.more, tt.want)
	}
}

// FuzzResolve: whatever an image has in its files, a user has an absolute home, and nobody becomes root who is not.
func FuzzResolve(f *testing.F) {
	f.Add("builder:extra", testUsers, testGroups)
	f.Add("0", "", "")
	f.Fuzz(func(t *testing.T, want, users, groups string) {
		a, err := resolve(want, parsePasswd(users), parseGroup(groups))
		if err == nil {
			assert.Assert(t, filepath.IsAbs(a.home) && a.home == filepath.Clean(a.home), "%q", a.home)
		}
	})
}

// FuzzReadJob: a job that was cut short, or is too long, does not run.
func FuzzReadJob(f *testing.F) {
	var buf bytes.Buffer
	assert.NilError(f, WriteJob(&buf, Job{ID: "x", Command: []string{"true"}, Stdin: []byte("a\x00b")}))
	f.Add(buf.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readJob(bytes.NewReader(data)); err == nil {
			_, err := readJob(bytes.NewReader(data[:3]))
			assert.Assert(t, err != nil)
		}
	})
}

// TestJobCutShort at any byte is no job.
func TestJobCutShort(t *testing.T) {
	var buf bytes.Buffer
	want := Job{ID: "x", Command: []string{"sh", "-c", "true"}, Env: []string{"A=b"}, Dir: "/workspace", Stdin: []byte("token"), Output: 1 << 20}
	assert.NilError(t, WriteJob(&buf, want))
	for n := range buf.Len() {
		_, err := readJob(bytes.NewReader(buf.Bytes()[:n]))
		assert.Assert(t, err != nil, "%d bytes", n)
	}
	got, err := readJob(&buf)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, want)
}

// TestExitStatus: what cannot be a status is none.
func TestExitStatus(t *testing.T) {
	box := t.TempDir()
	assert.NilError(t, writeExit(box, status{Code: 137, Signal: 9}))
	x, err := ReadExit(box)
	assert.NilError(t, err)
	assert.Equal(t, x.Code, 137)
	assert.NilError(t, writeExit(box, status{Code: 300}))
	_, err = ReadExit(box)
	assert.ErrorContains(t, err, "out of range")
}
