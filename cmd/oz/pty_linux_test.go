package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// terminal opens a pair: what a person types and sees, and what a program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	assert.NilError(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	assert.NilError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// typed runs a command at a terminal. Each answer is typed when its question
// is there; what the terminal showed is given.
func (d *desk) typed(answers map[string]string, args ...string) (code int, screen string) {
	d.t.Helper()
	person, program := terminal(d.t)
	cmd := d.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	assert.NilError(d.t, cmd.Start())
	var shown servertest.Buffer
	go func() { // ends when the pair is closed
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			_, _ = shown.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	for question, answer := range answers {
		await(d.t, question, func() bool { return strings.Contains(shown.String(), question) })
		_, err := person.WriteString(answer + "\n")
		assert.NilError(d.t, err)
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), shown.String()
}

// TestAtATerminal: values that are typed are not shown, and nothing is deleted
// before somebody said yes.
func TestAtATerminal(t *testing.T) {
	d := newDesk(t)
	const value = "a-typed-value-33981"
	code, screen := d.typed(map[string]string{"Value of TYPED (not shown): ": value}, "secret", "create", "TYPED")
	assert.Equal(t, code, 0, screen)
	assert.Assert(t, !strings.Contains(screen, value), screen)

	code, screen = d.typed(map[string]string{"Delete the secret TYPED? [y/N] ": "n"}, "secret", "delete", "TYPED")
	assert.Equal(t, code, exitFailure, screen)
	assert.Equal(t, d.ok("secret", "list", "--jq", ".secrets[].name"), "TYPED\n")
	code, screen = d.typed(map[string]string{"Delete the secret TYPED? [y/N] ": "yes"}, "secret", "delete", "TYPED")
	assert.Equal(t, code, 0, screen)
	assert.Equal(t, d.ok("secret", "list"), "No secrets.\n")

	for answer, want := range map[string]string{"3": images[2].Image, "registry.example.com/build:1": "registry.example.com/build:1", "": ""} {
		code, screen = d.typed(map[string]string{"empty for none): ": answer}, "environment", "create", "-n", "image-"+answer, "-r", "acme/api")
		assert.Equal(t, code, 0, screen)
		assert.Equal(t, d.ok("environment", "list", "--jq", `.environments[] | select(.config.name == "image-`+answer+`") | .config.docker_image // ""`), want+"\n")
	}
	code, screen = d.typed(map[string]string{"empty for none): ": "77"}, "environment", "create", "-n", "x")
	assert.Equal(t, code, exitUsage, screen)

	code, screen = d.typed(map[string]string{"API key (not shown): ": servertest.APIKey}, "login", "--with-key", "--force")
	assert.Equal(t, code, 0, screen)
	assert.Assert(t, !strings.Contains(screen, servertest.APIKey))
}
