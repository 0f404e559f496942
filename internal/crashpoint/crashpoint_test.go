package crashpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/crashpoint"
)

func TestMain(m *testing.M) {
	if name := os.Getenv("OZ_CRASH_TEST_HIT"); name != "" {
		for range 5 {
			crashpoint.Hit(crashpoint.Name(name))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestCrashPointsAreKnown reads the module's source: every point that the code
// hits is listed, each of the platform's is hit somewhere, and no two share a name.
func TestCrashPointsAreKnown(t *testing.T) {
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..")
	hit := hits(t, root)
	constants := declared(t, filepath.Dir(self))

	listed := crashpoint.All()
	assert.Equal(t, len(slices.Compact(slices.Sorted(slices.Values(listed)))), len(listed), "two points share a name")
	values := map[crashpoint.Name]bool{}
	for _, n := range listed {
		values[n] = true
	}
	for name, value := range constants {
		assert.Check(t, values[value], "constant %s is not in All", name)
	}
	assert.Equal(t, len(constants), len(listed))
	for where, name := range hit {
		_, ok := constants[name]
		assert.Check(t, ok, "%s hits a point that is not a constant of this package: %s", where, name)
	}
	for name, value := range constants {
		if slices.Contains(crashpoint.Platform(), value) {
			found := false
			for _, h := range hit {
				found = found || h == name
			}
			assert.Check(t, found, "nothing hits %s", name)
		}
	}
}

// hits finds the calls of crashpoint.Hit outside this package: position to the
// name of the constant.
func hits(t *testing.T, root string) map[string]string {
	found := map[string]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return nil // somebody is writing it; the compiler has its say
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !selects(call.Fun, "Hit") || len(call.Args) != 1 {
				return true
			}
			name := "(an expression)"
			if s, ok := call.Args[0].(*ast.SelectorExpr); ok && selects(s, s.Sel.Name) {
				name = s.Sel.Name
			}
			found[fset.Position(call.Pos()).String()] = name
			return true
		})
		return nil
	})
	assert.NilError(t, err)
	return found
}

// selects reports whether e is crashpoint.<name>.
func selects(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "crashpoint"
}

// declared reads the constants of type Name.
func declared(t *testing.T, dir string) map[string]crashpoint.Name {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, "crashpoint.go"), nil, 0)
	assert.NilError(t, err)
	found := map[string]crashpoint.Name{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Name" {
			found[v.Names[0].Name] = crashpoint.Name(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	return found
}

// TestHit runs itself as the process that dies, in a build with the tag.
func TestHit(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a test binary")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "crash.test")
	out, err := exec.Command("go", "test", "-c", "-tags", "crashpoints", "-o", bin, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	mark := filepath.Join(dir, "mark")
	run := func(at string, env ...string) bool {
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), append(env, "OZ_CRASH_TEST_HIT=end.start", "OZ_CRASH_AT="+at)...)
		err := cmd.Run()
		if err == nil {
			return false
		}
		state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		assert.Assert(t, ok && state.Signaled() && state.Signal() == syscall.SIGKILL, "%v", err)
		return true
	}
	assert.Assert(t, run("end.start"))
	assert.Assert(t, run("end.start@5"))
	assert.Assert(t, !run("end.start@6"), "is hit five times only")
	assert.Assert(t, !run("end.committed"))
	assert.Assert(t, run("end.start@2", "OZ_CRASH_MARK="+mark))
	assert.Assert(t, !run("end.start@2", "OZ_CRASH_MARK="+mark), "dies once")
}
