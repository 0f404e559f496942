package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/oz-platform/cloudagents/executor"
)

// terminal gives the terminal that a person can be asked on, if there is one.
func (a *app) terminal() (*os.File, bool) {
	in, ok := a.in.(*os.File)
	return in, ok && term.IsTerminal(int(in.Fd()))
}

// sure asks before something is deleted, unless force says that it is meant.
func (a *app) sure(force bool, format string, args ...any) error {
	if force {
		return nil
	}
	in, ok := a.terminal()
	if !ok {
		return usageError{errors.New("not deleted; --force deletes without asking")}
	}
	fmt.Fprintf(a.err, format+" [y/N] ", args...)
	line, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not deleted")
}

// hidden reads a secret from a file, from standard input when that is no
// terminal, or else from a prompt that does not show it. flag names the file's
// flag. One newline at the end is not part of it.
func (a *app) hidden(flag, file, prompt string) (executor.Sensitive, error) {
	raw, err := a.readHidden(flag, file, prompt)
	if err != nil {
		return "", err
	}
	if len(raw) > maxSecretBytes {
		return "", usageError{fmt.Errorf("the value has more than %d bytes", maxSecretBytes)}
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if value == "" {
		return "", usageError{errors.New("the value is empty")}
	}
	return executor.Sensitive(value), nil
}

func (a *app) readHidden(flag, file, prompt string) ([]byte, error) {
	in := a.in
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("--%s: %w", flag, err)}
		}
		defer func() { _ = f.Close() }()
		in = f
	} else if t, ok := a.terminal(); ok {
		return a.askHidden(t, prompt+" (not shown): ")
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxSecretBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	return raw, nil
}

// askHidden asks at a terminal. Echo is off before the question is there, so
// that nothing of a hasty answer is shown.
func (a *app) askHidden(t *os.File, question string) ([]byte, error) {
	before, err := term.MakeRaw(int(t.Fd()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = term.Restore(int(t.Fd()), before) }()
	screen := struct {
		io.Reader
		io.Writer
	}{t, a.err}
	answer, err := term.NewTerminal(screen, "").ReadPassword(question)
	if errors.Is(err, io.EOF) { // Ctrl-C and Ctrl-D
		return nil, errors.New("nothing was entered")
	}
	return []byte(answer), err
}

// done confirms an act: a line for people, {} for programs.
func (a *app) done(format string, args ...any) error {
	if a.json() {
		return a.emit(struct{}{})
	}
	a.say(format, args...)
	return nil
}
