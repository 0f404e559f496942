package executortest

import (
	"context"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

var workspaceCases = map[string]func(*testing.T, Harness){
	"WorkspaceOutlives":      workspaceOutlives,
	"WorkspaceInUse":         workspaceInUse,
	"WorkspaceUnknown":       workspaceUnknown,
	"WorkspaceRemoval":       workspaceRemoval,
	"WorkspaceLinksStay":     workspaceLinksStay,
	"WorkspaceSharedAtOnce":  workspaceSharedAtOnce,
	"WorkspaceCancelledThen": workspaceCancelledThen,
}

// in makes spec use the workspace key.
func in(key string, spec executor.Spec) executor.Spec {
	spec.Workspace = key
	return spec
}

func workspaceOutlives(t *testing.T, h Harness) {
	e := h.Open(t)
	s := start(t, e, in("w", script("a", "pwd; mkdir src; echo kept > src/file")))
	dir := output(t, s)
	wait(t, s)
	assert.NilError(t, s.Remove(newContext(t)))
	assert.Equal(t, run(t, h.Open(t), in("w", script("b", "pwd; cat src/file"))), dir+"kept\n")
	assert.Equal(t, run(t, e, in("v", script("c", "ls -A"))), "", "another key, another directory")
}

func workspaceSharedAtOnce(t *testing.T, h Harness) {
	e := h.Open(t)
	a := start(t, e, in("w", script("a", "while ! test -e b; do sleep 0.01; done; echo > a; echo saw b")))
	b := start(t, e, in("w", script("b", "echo > b; while ! test -e a; do sleep 0.01; done; echo saw a")))
	assert.Equal(t, output(t, a), "saw b\n")
	assert.Equal(t, output(t, b), "saw a\n")
}

func workspaceInUse(t *testing.T, h Harness) {
	e := h.Open(t)
	s := start(t, e, in("w", script("a", trapping)))
	assert.Equal(t, follow(t, s).next(), "ready")
	for _, e := range []executor.Executor{e, h.Open(t)} {
		assert.ErrorIs(t, e.RemoveWorkspace(newContext(t), "w"), executor.ErrInUse)
	}
	assert.NilError(t, s.Stop(newContext(t), patience))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"), "the sandbox has ended")
	keys, err := e.Workspaces(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 0)
}

func workspaceUnknown(t *testing.T, h Harness) {
	e := h.Open(t)
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "nothing"))
	for _, key := range []string{"", "..", "../sandboxes", "a/b"} {
		assert.ErrorIs(t, e.RemoveWorkspace(newContext(t), key), executor.ErrInvalidSpec)
	}
}

// workspaceRemoval: trees as tools make them, among them the read-only ones of a module cache, and one deeper than any
// path may be long.
func workspaceRemoval(t *testing.T, h Harness) {
	e := h.Open(t)
	run(t, e, in("w", script("a", `
		mkdir -p cache/mod/x; echo x > cache/mod/x/f; chmod -R a-w cache; chmod 0 cache/mod/x
		mkdir -p 'a b/-rf/...'; echo x > 'a b/-rf/.../new
line'
		for i in $(seq 300); do echo > f$i; done
		for i in $(seq 250); do p=directory/$p; done
		mkdir -p "a/$p" "b/$p" "c/$p"; echo x > "a/$p/deep"; mv a "b/$p"; mv b "c/$p"`)))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
	assert.Equal(t, run(t, e, in("w", script("b", "ls -A"))), "")
}

func workspaceLinksStay(t *testing.T, h Harness) {
	e := h.Open(t)
	outside := start(t, e, in("outside", script("a", "mkdir d; echo precious > d/f; echo precious > g")))
	wait(t, outside)
	links := fmt.Sprintf(`ln -s %[1]q all; ln -s %[1]q/d d; ln -s %[1]q/g g; ln %[1]q/g hard; ln -s . self; ln -s nowhere dangling`, outside.Dir())
	run(t, e, in("w", script("b", links)))
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
	assert.Equal(t, run(t, e, in("outside", script("c", "cat d/f g"))), "precious\nprecious\n")
}

// workspaceCancelledThen: a removal that was interrupted is taken up again.
func workspaceCancelledThen(t *testing.T, h Harness) {
	e := h.Open(t)
	run(t, e, in("w", script("a", `for i in $(seq 30); do mkdir -p "d$i/e/f"; for j in $(seq 30); do echo > "d$i/e/f/$j"; done; done`)))
	// Ends somewhere in the middle, or before.
	for n := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := e.RemoveWorkspace(ctx, "w"); err != nil {
			assert.ErrorIs(t, err, context.Canceled, "try %d", n)
		}
		cancel()
	}
	assert.NilError(t, e.RemoveWorkspace(newContext(t), "w"))
	keys, err := e.Workspaces(newContext(t))
	assert.NilError(t, err)
	assert.Equal(t, len(keys), 0)
}
