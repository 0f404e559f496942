package house_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

const module = "github.com/oz-platform/cloudagents"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Name       string
	Imports    []string
	Module     *struct{ Path string }
}

// list runs `go list -json` in the module's root.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Imports,Module"}, args...)...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	assert.NilError(t, err)
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestEmbedderLinksLittle: a program that embeds the platform with the default
// store and executor links these modules and no others: no containers, no
// Kubernetes, no model SDK, no web app.
func TestEmbedderLinksLittle(t *testing.T) {
	modules := map[string]bool{}
	for _, p := range list(t, "-deps", "./oz", "./task/sqlitestore", "./executor/local") {
		if p.Module != nil {
			modules[p.Module.Path] = true
		}
	}
	var got []string
	for m := range modules {
		got = append(got, m)
	}
	slices.Sort(got)
	assert.DeepEqual(t, got, []string{
		"code.dny.dev/ssrf",
		"github.com/dustin/go-humanize",
		"github.com/google/uuid",
		"github.com/mfridman/interpolate",
		module,
		"github.com/pressly/goose/v3",
		"github.com/remyoudompheng/bigfft",
		"github.com/sethvargo/go-retry",
		"github.com/tink-crypto/tink-go/v2",
		"go.uber.org/multierr",
		"go.uber.org/zap",
		"golang.org/x/crypto",
		"golang.org/x/sync",
		"golang.org/x/sys",
		"google.golang.org/protobuf",
		"modernc.org/libc",
		"modernc.org/mathutil",
		"modernc.org/memory",
		"modernc.org/sqlite",
	})
}

// layers lists the rooms from the top of the house to its ground.
var layers = [][]string{
	{"cmd", "examples"},
	{"transport"},
	{"oz"},
	{"trigger", "executor"},
	{"environment", "secrets"},
	{"task"},
}

// floor is the layer of a package; -1 for those outside the house.
func floor(path string) int {
	room, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/"), "/")
	return slices.IndexFunc(layers, func(rooms []string) bool { return slices.Contains(rooms, room) })
}

// drivers are implementations of an interface, by the path below the module.
var drivers = []string{
	"task/sqlitestore", "task/pgstore", "task/fileblob",
	"secrets/sealed", "secrets/envsecrets", "secrets/filesecrets",
	"executor/local", "executor/containerd", "executor/command", "executor/kubernetes",
	"executor/harness/oz", "executor/harness/claude", "executor/harness/codex", "executor/harness/gemini", "executor/harness/opencode",
}

// driverOf gives the driver that a package is or belongs to.
func driverOf(path string) string {
	path = strings.TrimPrefix(path, module+"/")
	for _, d := range drivers {
		if path == d || strings.HasPrefix(path, d+"/") {
			return d
		}
	}
	return ""
}

// TestImportsPointDown: no room imports one above it, and no driver another
// driver.
func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := floor(p.ImportPath)
		for _, to := range p.Imports {
			if !strings.HasPrefix(to, module+"/") {
				continue
			}
			if f := floor(to); from >= 0 && f >= 0 && f < from {
				t.Errorf("%s imports %s, which is above it", p.ImportPath, to)
			}
			// The platform is made over the sealed store: managing secrets is its work.
			if d := driverOf(to); from >= 2 && d != "" && d != driverOf(p.ImportPath) && !(p.ImportPath == module+"/oz" && d == "secrets/sealed") {
				t.Errorf("%s imports the driver %s", p.ImportPath, to)
			}
		}
	}
}

// TestTopLevelIsFixed: what lies at the top of the module.
func TestTopLevelIsFixed(t *testing.T) {
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(strings.TrimSpace(line), "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(got, top) {
			got = append(got, top)
		}
	}
	allowed := []string{"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "SPECIFICATION.md", "cmd", "doc.go", "environment", "examples", "executor",
		"go.mod", "go.sum", "internal", "oz", "secrets", "task", "transport", "trigger"}
	for _, name := range got {
		assert.Assert(t, slices.Contains(allowed, name), "%s lies at the top level; move it into a room", name)
	}
}

// files yields the module's own Go files, without tests and generated ones.
func files(t *testing.T, visit func(path string, f *ast.File)) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "demo"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".gen.go"):
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err == nil {
			visit(filepath.ToSlash(strings.TrimPrefix(path, "../../")), f)
		}
		return err
	})
	assert.NilError(t, err)
}

// TestNoEffectsBehindTheBack: no init functions, no global logger, and no
// os.Exit outside of main.
func TestNoEffectsBehindTheBack(t *testing.T) {
	files(t, func(path string, f *ast.File) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, _ := sel.X.(*ast.Ident)
			switch {
			case x == nil:
			case x.Name == "os" && sel.Sel.Name == "Exit" && f.Name.Name != "main",
				x.Name == "log" && (strings.HasPrefix(sel.Sel.Name, "Fatal") || strings.HasPrefix(sel.Sel.Name, "Print")) && imports(f, "log"),
				x.Name == "zap" && (sel.Sel.Name == "L" || sel.Sel.Name == "S"):
				t.Errorf("%s uses %s.%s", path, x.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

func imports(f *ast.File, path string) bool {
	return slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"`+path+`"` })
}

// TestExportedNamesAreDocumented: every exported name of a package that others
// may import has a comment.
func TestExportedNamesAreDocumented(t *testing.T) {
	var missing []string
	files(t, func(path string, f *ast.File) {
		if f.Name.Name == "main" {
			return
		}
		above := ""
		for _, d := range f.Decls {
			name := method(d)
			if name == "" || name != above { // one comment may stand over a column of methods of one name
				missing = append(missing, undocumented(path, d)...)
			}
			above = name
		}
	})
	assert.Assert(t, len(missing) == 0, "without a comment:\n%s", strings.Join(missing, "\n"))
}

// method is the name of a method, or "".
func method(d ast.Decl) string {
	if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
		return fn.Name.Name
	}
	return ""
}

func undocumented(path string, d ast.Decl) (missing []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && receiverExported(d) {
			missing = append(missing, path+": func "+d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					missing = append(missing, path+": type "+s.Name.Name)
				}
			case *ast.ValueSpec:
				// One comment may stand over a group of values.
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing = append(missing, path+": "+s.Names[0].Name)
				}
			}
		}
	}
	return missing
}

// receiverExported tells methods that users see from those of hidden types.
func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return false
		}
	}
}
