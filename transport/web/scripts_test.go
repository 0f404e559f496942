package web_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

// TestScripts runs the tests of those scripts that need no page, with node.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("OZ_TEST_REQUIRE") != "" {
			t.Fatal("node is not installed")
		}
		t.Skip("node is not installed")
	}
	dir := t.TempDir() // where the scripts are modules
	for from, to := range map[string]string{"assets/js": "js", "assets/lib": "lib", "testdata/scripts": "test"} {
		assert.NilError(t, os.CopyFS(filepath.Join(dir, to), os.DirFS(from)))
	}
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	cmd := exec.CommandContext(t.Context(), node, "--test", "test")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
}
