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

// seat is a person at a terminal with a command.
type seat struct {
	t       *testing.T
	person  *os.File
	program *os.File
	shown   servertest.Buffer
	code    chan int
	seen    int // of what is shown
}

// seated starts a command at a terminal.
func (d *desk) seated(args ...string) *seat {
	d.t.Helper()
	s := &seat{t: d.t, code: make(chan int, 1)}
	s.person, s.program = terminal(d.t)
	cmd := d.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.program, s.program, s.program
	assert.NilError(d.t, cmd.Start())
	go func() { // ends when the pair is closed
		buf := make([]byte, 4096)
		for {
			n, err := s.person.Read(buf)
			_, _ = s.shown.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	go func() { _ = cmd.Wait(); s.code <- cmd.ProcessState.ExitCode() }()
	return s
}

func (s *seat) types(text string) {
	s.t.Helper()
	_, err := s.person.WriteString(text)
	assert.NilError(s.t, err)
}

// sees waits for text behind what was seen before.
func (s *seat) sees(text string) {
	s.t.Helper()
	await(s.t, text, func() bool {
		i := strings.Index(s.shown.String()[s.seen:], text)
		if i >= 0 {
			s.seen += i + len(text)
		}
		return i >= 0
	})
}

// TestSessionAttach takes part in a run from a terminal: follows it, steers it,
// takes over in its sandbox and comes back to a terminal as it was.
func TestSessionAttach(t *testing.T) {
	d := newDesk(t)
	id := d.object("agent", "run-cloud", "-p", "wait for it", "--no-environment")["run_id"].(string)
	s := d.seated("session", "attach", id)
	s.sees("You are here as owner")
	s.sees("waiting")
	before, err := unix.IoctlGetTermios(int(s.program.Fd()), unix.TCGETS)
	assert.NilError(t, err)
	s.types("and say please\n")
	s.sees("» and say please")
	s.types("/who\n")
	s.sees("Admin (editor)")
	s.types("/dance\n")
	s.sees("there is no /dance")
	s.types("/answer yes\n")
	s.sees("oz: ")

	s.types("/terminal\n")
	s.sees("You have taken over")
	s.types("stty size; echo run=$OZ_RUN_ID\r")
	s.sees("run=" + id)
	s.types("echo $((6*7))-apples; exit 4\r")
	s.sees("42-apples")
	s.sees("Back in the run: the shell has ended with 4")
	after, err := unix.IoctlGetTermios(int(s.program.Fd()), unix.TCGETS)
	assert.NilError(t, err)
	assert.DeepEqual(t, after, before)
	// The log says so, too: before the terminal opened, or afterwards, when it had to wait.
	await(t, "has taken over in a terminal", func() bool { return strings.Contains(s.shown.String(), "has taken over in a terminal") })
	s.types("/terminal\n")
	s.sees("You have taken over")
	s.types("echo $((6*8))-pears\r")
	s.sees("48-pears")
	s.types("\x1d")
	s.sees("Back in the run: you have left the terminal")

	d.letGo()
	s.sees("SUCCEEDED")
	s.sees("A message takes it on")
	s.types("/quit\n")
	s.sees("The run goes on")
	assert.Equal(t, <-s.code, 0)
	after, err = unix.IoctlGetTermios(int(s.program.Fd()), unix.TCGETS)
	assert.NilError(t, err)
	assert.DeepEqual(t, after, before)

	cmd := d.command("session", "attach", d.server.URL+"/runs/"+id) // a script: the outcome
	cmd.Stdin = strings.NewReader("/who\n")
	r := finish(t, cmd)
	assert.Equal(t, r.code, 0, r.err)
	has(t, r.out, "waiting", "▷ Admin has taken over in a terminal", "42-apples", "◁ the terminal is closed: the shell has ended", "■ SUCCEEDED")
	d.fails(exitUsage, "must be like https://server/runs/RUN_ID", "session", "attach", "https://example.com/elsewhere")
	d.fails(exitUsage, "neither a run's id", "session", "attach", "ftp://example.com/runs/x")
	d.fails(exitFailure, "does not exist, or you may not see it", "session", "attach", "nope")
}
