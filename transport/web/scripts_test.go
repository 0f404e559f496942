package web_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// node finds the program that runs scripts without a page.
func node(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil && os.Getenv("OZ_TEST_REQUIRE") != "" {
		t.Fatal("node is not installed")
	}
	if err != nil {
		t.Skip("node is not installed")
	}
	return path
}

// scripted gives what a module of the pages makes of each text: an expression
// of m, the module, and text. zone is the time zone, "" for the machine's.
func scripted[T any](t *testing.T, module, expression, zone string, texts []string) []T {
	t.Helper()
	program, dir := node(t), t.TempDir()
	source, err := os.ReadFile(module)
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "module.mjs"), source, 0o600))
	in, err := json.Marshal(texts)
	assert.NilError(t, err)
	cmd := exec.CommandContext(t.Context(), program, "--input-type=module", "-e", `import * as m from './module.mjs';
		let all = ''; for await (const part of process.stdin) all += part;
		process.stdout.write(JSON.stringify(JSON.parse(all).map((text) => `+expression+`)));`)
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, strings.NewReader(string(in)), os.Stderr
	if zone != "" {
		cmd.Env = append(os.Environ(), "TZ="+zone)
	}
	out, err := cmd.Output()
	assert.NilError(t, err)
	var answers []T
	assert.NilError(t, json.Unmarshal(out, &answers))
	assert.Equal(t, len(answers), len(texts))
	return answers
}

// TestScripts runs the tests of those scripts that need no page, with node.
func TestScripts(t *testing.T) {
	dir := t.TempDir() // where the scripts are modules
	for from, to := range map[string]string{"assets/js": "js", "assets/lib": "lib", "testdata/scripts": "test"} {
		assert.NilError(t, os.CopyFS(filepath.Join(dir, to), os.DirFS(from)))
	}
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600))
	cmd := exec.CommandContext(t.Context(), node(t), "--test", "test")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
}

// TestScriptsHaveNoDeadNames: there is no build step that would leave out what
// nobody uses. Each name that a script imports is used there, and each that it
// exports is used elsewhere.
func TestScriptsHaveNoDeadNames(t *testing.T) {
	sources := map[string]string{}
	for _, pattern := range []string{"assets/js/*.js", "assets/js/*/*.js", "testdata/scripts/*.js", "*_test.go"} {
		names, err := filepath.Glob(pattern)
		assert.NilError(t, err)
		assert.Assert(t, len(names) > 0, pattern)
		for _, name := range names {
			data, err := os.ReadFile(name)
			assert.NilError(t, err)
			sources[name] = string(data)
		}
	}
	words := func(text, name string) int { return len(regexp.MustCompile(`\b`+name+`\b`).FindAllString(text, -1)) }
	imports, exports := regexp.MustCompile(`(?m)^import \{([^}]*)\}`), regexp.MustCompile(`(?m)^export (?:async )?(?:const|let|function|class) (\w+)`)
	for file, text := range sources {
		if !strings.HasPrefix(file, "assets/") {
			continue
		}
		for _, m := range imports.FindAllStringSubmatch(text, -1) {
			for one := range strings.SplitSeq(m[1], ",") {
				if fields := strings.Fields(one); len(fields) > 0 { // name, or name as other
					name := fields[len(fields)-1]
					assert.Check(t, words(text, name) > 1, "%s imports %s and does nothing with it", file, name)
				}
			}
		}
		for _, m := range exports.FindAllStringSubmatch(text, -1) {
			used := false
			for other, theirs := range sources {
				used = used || other != file && words(theirs, m[1]) > 0
			}
			assert.Check(t, used, "%s exports %s to nobody", file, m[1])
		}
	}
}
