package skillmd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/environment/skill"
	"github.com/oz-platform/cloudagents/environment/skill/skillmd"
)

const sound = "---\nname: deploy\ndescription: Ships it\nallowed-tools: [a, b]\n---\n\n# Deploy\n\n---\nRun make.\n"

func TestParse(t *testing.T) {
	const path = ".claude/skills/dir/SKILL.md"
	for _, tt := range []struct{ name, data, malformed string }{
		{name: "sound", data: sound},
		{name: "byte order mark and CRLF", data: "\ufeff" + strings.ReplaceAll(sound, "\n", "\r\n")},
		{name: "space after the dashes", data: strings.Replace(sound, "---\n", "--- \t\n", 1)},
		{name: "in blocks, with lists and comments", data: "---\n# ours\nallowed-tools:\n- a\n\"name\": deploy\ndescription: >\n  Ships\n  it\n\nmetadata: {a: [b]}\n---\n# Deploy\n\n---\nRun make.\n"},
		{name: "empty", data: "", malformed: "must begin with front matter"},
		{name: "no front matter", data: "# Deploy\n", malformed: "must begin with front matter"},
		{name: "no end", data: "---\nname: deploy\n", malformed: "no end"},
		{name: "no name", data: "---\ndescription: x\n---\n", malformed: "no name"},
		{name: "no description", data: "---\nname: x\n---\n", malformed: "no description"},
		{name: "blank name", data: "---\nname: ' '\ndescription: x\n---\n", malformed: "no name"},
		{name: "slash", data: "---\nname: a/b\ndescription: x\n---\n", malformed: "slash or colon"},
		{name: "not YAML", data: "---\nname: \"\n---\n", malformed: "not valid YAML"},
		{name: "a list as name", data: "---\nname: [a]\ndescription: x\n---\n", malformed: "plain text"},
		{name: "an alias", data: "---\nx: &x [a]\nname:\n  *x\ndescription: x\n---\n", malformed: "plain text"},
		{name: "a name twice", data: "---\nname: a\nname: b\ndescription: x\n---\n", malformed: "not valid YAML"},
		{name: "colon in plain text", data: "---\nname: a\ndescription: use: it\n---\n", malformed: "not valid YAML"},
		{name: "long description", data: "---\nname: a\ndescription: " + strings.Repeat("x", 5000) + "\n---\n", malformed: "4096 bytes"},
		{name: "not UTF-8", data: "---\nname: \xff\n---\n", malformed: "UTF-8"},
		{name: "long front matter", data: "---\nx: " + strings.Repeat("x", 20_000) + "\n---\n", malformed: "more than 16384"},
		{name: "long name", data: "---\nname: " + strings.Repeat("x", 101) + "\ndescription: x\n---\n", malformed: "more than 100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := skillmd.Parse(skillmd.File{Path: path, Data: []byte(tt.data)})
			if tt.malformed == "" {
				assert.Equal(t, s, skill.Skill{Name: "deploy", Description: "Ships it", Body: "# Deploy\n\n---\nRun make.", Path: path})
				return
			}
			assert.Assert(t, strings.Contains(s.Malformed, tt.malformed), s.Malformed)
			assert.Equal(t, s.Name, "dir")
			assert.Equal(t, s.Body, "")
		})
	}
	large := skillmd.Parse(skillmd.File{Path: path})
	assert.Assert(t, strings.Contains(large.Malformed, "131072"), large.Malformed)
}

// TestHostileFrontMatter: what would take the YAML library minutes is not given
// to it.
func TestHostileFrontMatter(t *testing.T) {
	aliases := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		aliases += fmt.Sprintf("a%d: &a%[1]d [%s*a%d]\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 8), i-1)
	}
	for _, front := range []string{aliases + "name: x\ndescription: *a8", "x: " + strings.Repeat("[", 16_000), strings.Repeat("- ", 8000)} {
		s := skillmd.Parse(skillmd.File{Path: ".claude/skills/x/SKILL.md", Data: []byte("---\n" + front + "\n---\n")})
		assert.Assert(t, s.Malformed != "")
	}
}

func file(name string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("---\nname: " + name + "\ndescription: d\n---\nof " + name)}
}

// TestFirstMatchWins: of skills with one name the one in the first folder
// counts, and a malformed one hides none.
func TestFirstMatchWins(t *testing.T) {
	repo := fstest.MapFS{
		".opencode/skills/last/SKILL.md": file("last"),
		".kiro/skills/kiro/SKILL.md":     file("kiro"),
		".agents/skills/a/SKILL.md":      file("twice"),
		".claude/skills/a/SKILL.md":      file("twice"),
		".warp/skills/b/SKILL.md":        file("first"),
		".warp/skills/bad/SKILL.md":      {Data: []byte("x")},
		".agents/skills/bad/SKILL.md":    file("bad"),
		".warp/skills/README.md":         {Data: []byte("x")},
		".warp/skills/empty/other.md":    {Data: []byte("x")},
		".warp/skills/deep/er/SKILL.md":  file("deep"),
		"skills/no/SKILL.md":             file("no"),
	}
	list, err := skillmd.Discover(repo)
	assert.NilError(t, err)
	var got []string
	for _, s := range list {
		got = append(got, s.Name+" "+s.Path)
	}
	assert.DeepEqual(t, got, []string{
		"first .warp/skills/b/SKILL.md", "bad .warp/skills/bad/SKILL.md",
		"twice .agents/skills/a/SKILL.md", "bad .agents/skills/bad/SKILL.md", "last .opencode/skills/last/SKILL.md", "kiro .kiro/skills/kiro/SKILL.md",
	})
}

// TestDiscoverFollowsNoLink: a link leads out of the repository.
func TestDiscoverFollowsNoLink(t *testing.T) {
	outside, repo := t.TempDir(), t.TempDir()
	assert.NilError(t, os.MkdirAll(filepath.Join(outside, "x"), 0o755))
	secret := filepath.Join(outside, "x", "SKILL.md")
	assert.NilError(t, os.WriteFile(secret, []byte(sound), 0o644))
	for _, dir := range []string{".claude", ".warp/skills", ".agents/skills/x", ".codex/skills"} {
		assert.NilError(t, os.MkdirAll(filepath.Join(repo, dir), 0o755))
	}
	assert.NilError(t, os.Symlink(outside, filepath.Join(repo, ".claude/skills")))
	assert.NilError(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(repo, ".warp/skills/x")))
	assert.NilError(t, os.Symlink(secret, filepath.Join(repo, ".agents/skills/x/SKILL.md")))
	list, err := skillmd.Discover(os.DirFS(repo))
	assert.NilError(t, err)
	assert.Equal(t, len(list), 0)
}

// FuzzParse: whatever a repository holds, a skill is sound with both texts in
// bounds, or says why it is not.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add([]byte("---\nname: &a [x, *a]\ndescription: *a\n---\n"))
	f.Add([]byte("---\n<<: *x\n? - a\n: |\n  b\nname: !!binary eA==\n---"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := skillmd.Parse(skillmd.File{Path: ".claude/skills/x/SKILL.md", Data: data})
		switch {
		case s.Malformed != "" && (s.Name != "x" || s.Body != ""):
			t.Fatalf("%q of a malformed skill", s.Name+s.Body)
		case s.Malformed == "" && (s.Name == "" || s.Description == "" || strings.ContainsAny(s.Name, "\n/:")):
			t.Fatalf("a sound skill with name %q, description %q", s.Name, s.Description)
		case !utf8.ValidString(s.Name + s.Description + s.Body + s.Malformed):
			t.Fatal("no UTF-8")
		}
	})
}
