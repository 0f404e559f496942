package skilldir_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skilldir"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(t, os.WriteFile(path, []byte(text), 0o644))
}

func file(name, body string) string {
	return "---\nname: " + name + "\ndescription: does " + name + "\n---\n" + body + "\n"
}

func shown(list []skilldir.Found) string {
	var out []string
	for _, f := range list {
		out = append(out, f.String())
	}
	return strings.Join(out, " ")
}

// TestFind: every folder and form counts, personal skills come first, and a name
// that two repositories have must be qualified.
func TestFind(t *testing.T) {
	home, more, app, lib := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(home, ".claude/skills/mine/SKILL.md"), file("mine", "Mine."))
	write(t, filepath.Join(home, ".agents/skills/deploy/SKILL.md"), file("deploy", "My deploy."))
	write(t, filepath.Join(more, "extra/SKILL.md"), file("extra", "Extra."))
	for _, folder := range skill.Folders() {
		name := strings.Trim(strings.Split(folder, "/")[0], ".")
		write(t, filepath.Join(app, folder, name, "SKILL.md"), file(name, "In "+folder))
	}
	for _, repo := range []string{app, lib} {
		write(t, filepath.Join(repo, ".agents/skills/deploy/SKILL.md"), file("deploy", "Deploy "+filepath.Base(repo)))
		write(t, filepath.Join(repo, ".agents/skills/test/SKILL.md"), file("test", "Test."))
	}
	roots := append([]skilldir.Root{{Dir: home}}, skilldir.Named(" "+more+", ~/none,", home, app)...)
	f := skilldir.New(append(roots, skilldir.Root{Dir: app, Repo: "app"}, skilldir.Root{Dir: lib, Repo: "lib"})...)
	found, problems := f.All(false)
	assert.Equal(t, len(problems), 0, "%v", problems)
	assert.Equal(t, len(found), 3+len(skill.Folders())+2+2, shown(found))
	for spec, want := range map[string]string{
		"deploy": "My deploy.", "mine": "Mine.", "extra": "Extra.", "claude": "In .claude/skills", "APP:opencode": "In .opencode/skills",
		"app:deploy": "Deploy " + filepath.Base(app), "acme/lib:deploy": "Deploy " + filepath.Base(lib),
		"app:.warp/skills/warp": "In .warp/skills", ".github/skills/github/SKILL.md": "In .github/skills",
	} {
		one, err := f.Find(spec)
		assert.NilError(t, err, spec)
		text, err := one.Read()
		assert.NilError(t, err)
		assert.Equal(t, text.Body, want, spec)
	}
	for spec, says := range map[string]string{"test": "app:test, lib:test", "none": "there are: deploy", "": "is empty", "app:../x/SKILL.md": "within", ":x": "before the colon"} {
		_, err := f.Find(spec)
		assert.ErrorContains(t, err, says)
	}
	write(t, filepath.Join(lib, ".agents/skills/new/SKILL.md"), file("new", "New."))
	_, err := f.Find("lib:new")
	assert.NilError(t, err, "what an agent has just written is found")
}

// TestHostileFiles: broken and huge ones say why, links lead nowhere, pipes
// stop nobody.
func TestHostileFiles(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "SKILL.md"), file("outside", "OUTSIDE"))
	write(t, filepath.Join(outside, "secret.txt"), "OUTSIDE")
	skills := filepath.Join(dir, ".agents/skills")
	write(t, filepath.Join(skills, "good/SKILL.md"), file("good", "Good."))
	write(t, filepath.Join(skills, "good/sub/list.txt"), "list")
	write(t, filepath.Join(skills, "good/huge.txt"), strings.Repeat("é", 5<<20))
	write(t, filepath.Join(skills, "good/data.bin"), "\xff\x00")
	assert.NilError(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(skills, "good/link.txt")))
	assert.NilError(t, os.Symlink(outside, filepath.Join(skills, "good/linked")))
	assert.NilError(t, syscall.Mkfifo(filepath.Join(skills, "good/pipe"), 0o644))
	write(t, filepath.Join(skills, "huge/SKILL.md"), file("huge", strings.Repeat("more\n", 2<<20)))
	write(t, filepath.Join(skills, "bad/SKILL.md"), "no front matter")
	write(t, filepath.Join(skills, "-rf; $(reboot)/SKILL.md"), file("../../evil", "x"))
	assert.NilError(t, os.Symlink(outside, filepath.Join(skills, "linkdir")))
	assert.NilError(t, os.MkdirAll(filepath.Join(skills, "linkfile"), 0o755))
	assert.NilError(t, os.Symlink(filepath.Join(outside, "SKILL.md"), filepath.Join(skills, "linkfile/SKILL.md")))
	assert.NilError(t, os.MkdirAll(filepath.Join(skills, "pipe"), 0o755))
	assert.NilError(t, syscall.Mkfifo(filepath.Join(skills, "pipe/SKILL.md"), 0o644))
	assert.NilError(t, os.MkdirAll(filepath.Join(dir, ".claude"), 0o755))
	assert.NilError(t, os.Symlink(outside, filepath.Join(dir, ".claude/skills")))

	f := skilldir.New(skilldir.Root{Dir: dir, Repo: "r"})
	found, _ := f.All(false)
	reasons := map[string]string{}
	for _, k := range found {
		reasons[filepath.Base(k.Dir)] = k.Malformed
	}
	assert.Equal(t, len(found), 4, shown(found))
	assert.Equal(t, reasons["good"], "")
	assert.Assert(t, is.Contains(reasons["huge"], "more than 131072 bytes"))
	assert.Assert(t, is.Contains(reasons["bad"], "front matter"))
	assert.Assert(t, is.Contains(reasons["-rf; $(reboot)"], "without slash or colon"))
	_, err := f.Find("bad")
	assert.ErrorContains(t, err, "cannot be read: the file must begin with front matter")

	good, err := f.Find("good")
	assert.NilError(t, err)
	list, all, err := good.Files()
	assert.NilError(t, err)
	assert.Assert(t, all)
	assert.DeepEqual(t, list, []string{"data.bin", "huge.txt", "sub/list.txt"})
	text, all, err := good.File("sub/list.txt")
	assert.NilError(t, err)
	assert.Assert(t, all && text == "list")
	text, all, err = good.File("huge.txt")
	assert.NilError(t, err)
	assert.Assert(t, !all && len(text) <= skilldir.MaxSupportBytes)
	for name, says := range map[string]string{"link.txt": "no regular file", "linked/secret.txt": "escapes", "pipe": "no regular file", "data.bin": "not text",
		"../bad/SKILL.md": "below", "/etc/passwd": "below", "none": "no such file", "": "below", "sub": "no regular file"} {
		_, _, err := good.File(name)
		assert.ErrorContains(t, err, says, name)
	}

	// A file that a link replaces meanwhile is not read.
	assert.NilError(t, os.Remove(filepath.Join(skills, "good/SKILL.md")))
	assert.NilError(t, os.Symlink(filepath.Join(outside, "SKILL.md"), filepath.Join(skills, "good/SKILL.md")))
	_, err = good.Read()
	assert.Assert(t, err != nil)
}

// TestNamed: what WARP_SKILL_DIRS may say.
func TestNamed(t *testing.T) {
	var dirs []string
	for _, r := range skilldir.Named("/a/b/, ~/s ,~,rel/x,,../up", "/home/u", "/work/app") {
		assert.Assert(t, r.Flat && r.Repo == "")
		dirs = append(dirs, r.Dir)
	}
	assert.DeepEqual(t, dirs, []string{"/a/b", "/home/u/s", "/home/u", "/work/app/rel/x", "/work/up"})
	assert.Equal(t, len(skilldir.Named("~,~/x", "", "/w")), 0)
}

// TestManySkills of many callers at once are bounded.
func TestManySkills(t *testing.T) {
	dir := t.TempDir()
	for i := range skill.MaxSkills + 20 {
		name := "s" + strings.Repeat("x", i%50) + strings.Repeat("y", i/50)
		write(t, filepath.Join(dir, name, "SKILL.md"), file(name, "Body."))
	}
	f := skilldir.New(skilldir.Root{Dir: dir, Flat: true})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			found, _ := f.All(true)
			assert.Check(t, len(found) == skill.MaxSkills, "%d", len(found))
			assert.Check(t, found[0].Body == "")
		})
	}
	group.Wait()
}
