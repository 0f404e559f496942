package permit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

const (
	// maxDepth bounds commands in the arguments of commands: sh -c "sh -c ...".
	maxDepth = 8
	// maxWrapped bounds the words behind a program that starts another, and
	// maxCommands the commands of one line.
	maxWrapped, maxCommands = 256, 2000
)

// computed stands in a word for what only the shell knows.
const computed = "\x00"

// aFile stands for the text of a file, which is as good as a script that is named.
const aFile = "\x00file"

// shells run a script that they are given in words.
var shells = []string{"sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "rbash"}

// wrappers start the program that their arguments name.
var wrappers = []string{"sudo", "doas", "su", "env", "nohup", "nice", "ionice", "chrt", "taskset", "time", "timeout", "setsid", "stdbuf", "unbuffer", "xargs",
	"parallel", "command", "builtin", "exec", "busybox", "toybox", "chroot", "unshare", "nsenter", "setpriv", "runuser", "strace", "ltrace", "watch", "flock",
	"find", "fd", "script", "coproc", "trap"}

// command is one simple command of a line.
type command struct {
	// text has its words without their quotes; named has the program without
	// its directory.
	text, named string
	// inner was found in the arguments of another command, which is listed, too.
	inner bool
}

// line is what a command line does, as far as its text says.
type line struct {
	commands []command
	// plain says that it only runs the commands: it sets no variable and writes
	// no file by redirection.
	plain bool
	// unknown is the first thing that cannot be judged; "" when all can.
	unknown string
}

// errUnreadable is a line that is no shell syntax, or too much of it.
var errUnreadable = errors.New("cannot be read")

// readLine finds the commands of a command line: in lists, pipes, subshells,
// substitutions, functions, and in the words given to shells, eval and to
// programs that start others.
func readLine(text string) (line, error) {
	r := &reader{line: line{plain: true}}
	err := r.script(text, 0)
	return r.line, err
}

type reader struct{ line line }

func (r *reader) script(text string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: it has scripts within scripts, more than %d deep", errUnreadable, maxDepth)
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if err == nil && n != nil {
			err = r.node(n, depth)
		}
		return err == nil
	})
	return err
}

func (r *reader) node(n syntax.Node, depth int) error {
	switch n := n.(type) {
	case *syntax.Stmt:
		for _, redirect := range n.Redirs {
			r.redirect(redirect)
		}
		if call, ok := n.Cmd.(*syntax.CallExpr); ok && len(call.Args) > 0 {
			return r.call(wordsOf(call.Args), input(n.Redirs), depth)
		}
	case *syntax.CallExpr:
		r.line.plain = r.line.plain && len(n.Assigns) == 0
	case *syntax.DeclClause:
		r.line.plain = false
		text := printed(n)
		return r.add(command{text: text, named: text})
	case *syntax.FuncDecl:
		r.line.plain = false
	}
	return nil
}

// redirect notes a file that is written.
func (r *reader) redirect(n *syntax.Redirect) {
	switch n.Op {
	case syntax.RdrIn, syntax.DplIn, syntax.DplOut, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return
	}
	if n.Word == nil || printed(n.Word) != "/dev/null" {
		r.line.plain = false
	}
}

// input gives the text that a command reads, when it stands in the line.
func input(redirects []*syntax.Redirect) *word {
	for _, n := range slices.Backward(redirects) {
		switch n.Op {
		case syntax.Hdoc, syntax.DashHdoc:
			if n.Hdoc != nil {
				w := wordOf(n.Hdoc)
				return &w
			}
		case syntax.WordHdoc:
			w := wordOf(n.Word)
			return &w
		case syntax.RdrIn:
			if !strings.Contains(wordOf(n.Word).name, computed) {
				return &word{text: aFile, name: aFile}
			}
		}
	}
	return nil
}

// call takes a command, and what its words make it start.
func (r *reader) call(words []word, in *word, depth int) error {
	if err := r.simple(words, in, depth, false); err != nil {
		return err
	}
	if !slices.Contains(wrappers, words[0].program()) {
		return nil
	}
	if len(words) > maxWrapped {
		return fmt.Errorf("%w: %s has %d words, more than %d", errUnreadable, words[0].program(), len(words), maxWrapped)
	}
	for i := 1; i < len(words); i++ {
		if err := r.simple(words[i:], in, depth, true); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) simple(words []word, in *word, depth int, inner bool) error {
	program := words[0].program()
	var texts []string
	for _, w := range words {
		texts = append(texts, w.text)
	}
	text := strings.Join(texts, " ")
	if err := r.add(command{text: text, named: strings.Join(append([]string{program}, texts[1:]...), " "), inner: inner}); err != nil {
		return err
	}
	switch {
	case strings.Contains(program, computed) && !inner:
		r.cannot("the name of the program in %q is only known when it runs: write it out", text)
	case program == "eval" && len(words) > 1:
		return r.nested(word{text: strings.Join(texts[1:], " "), name: joinNames(words[1:])}, depth)
	case slices.Contains(shells, program):
		return r.shell(words, in, depth)
	}
	return nil
}

// shell takes the script that a shell is given by words or by its input.
func (r *reader) shell(words []word, in *word, depth int) error {
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case strings.HasPrefix(w.name, computed):
			r.cannot("what the shell in %q is to do is only known when it runs", words[0].text)
			return nil
		case !strings.HasPrefix(w.text, "-") && !strings.HasPrefix(w.text, "+"):
			return nil // a file, which may hold anything
		case w.text == "--version", w.text == "--help":
			return nil
		case !strings.HasPrefix(w.text, "--") && strings.ContainsRune(w.text, 'c'):
			for _, script := range words[i+1:] {
				if !strings.HasPrefix(script.text, "-") {
					return r.nested(script, depth)
				}
			}
		case w.text == "-o", w.text == "-O":
			i++
		}
	}
	if in == nil {
		r.cannot("the shell in %q reads its commands from its input: give it the commands with -c", words[0].text)
		return nil
	}
	if in.text == aFile {
		return nil
	}
	return r.nested(*in, depth)
}

// nested takes a script that stands in a word. Expansions in it are made before
// it is read, so that it cannot be judged with them.
func (r *reader) nested(script word, depth int) error {
	if strings.Contains(script.name, computed) {
		r.cannot("the script %q is only known when it runs", script.text)
		return nil
	}
	return r.script(script.text, depth+1)
}

func (r *reader) add(c command) error {
	if len(r.line.commands) >= maxCommands {
		return fmt.Errorf("%w: it has more than %d commands", errUnreadable, maxCommands)
	}
	r.line.commands = append(r.line.commands, c)
	return nil
}

func (r *reader) cannot(format string, args ...any) {
	if r.line.unknown == "" {
		r.line.unknown = fmt.Sprintf(format, args...)
	}
}

// word is one word of a command.
type word struct {
	text string // without quotes; expansions as they are written
	name string // the same with computed for each expansion
}

// program is the name of the program that the word means, without directory.
func (w word) program() string { return path.Base(w.name) }

func joinNames(words []word) string {
	var names []string
	for _, w := range words {
		names = append(names, w.name)
	}
	return strings.Join(names, " ")
}

func wordsOf(args []*syntax.Word) []word {
	out := make([]word, 0, len(args))
	for _, a := range args {
		out = append(out, wordOf(a))
	}
	return out
}

func wordOf(n *syntax.Word) word {
	var text, name strings.Builder
	for _, p := range n.Parts {
		part(p, false, &text, &name)
	}
	return word{text.String(), name.String()}
}

// part adds a part of a word.
func part(p syntax.WordPart, quoted bool, text, name *strings.Builder) {
	switch p := p.(type) {
	case *syntax.Lit:
		literal(p.Value, quoted, text, name)
	case *syntax.SglQuoted:
		text.WriteString(p.Value)
		if p.Dollar && strings.Contains(p.Value, `\`) {
			name.WriteString(computed)
			return
		}
		name.WriteString(p.Value)
	case *syntax.DblQuoted:
		for _, inside := range p.Parts {
			part(inside, true, text, name)
		}
	default:
		text.WriteString(printed(p))
		name.WriteString(computed)
	}
}

// literal adds text without its backslashes. Outside of quotes braces and
// wildcards make other words of it.
func literal(s string, quoted bool, text, name *strings.Builder) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("$`\"\\\n", s[i+1]) >= 0) {
			if i++; s[i] == '\n' {
				continue // a line goes on
			}
			text.WriteByte(s[i])
			name.WriteByte(s[i])
			continue
		}
		text.WriteByte(c)
		if !quoted && strings.IndexByte("*?{", c) >= 0 || !quoted && c == '[' && s != "[" && s != "[[" {
			name.WriteString(computed)
			continue
		}
		name.WriteByte(c)
	}
}

// printed is a node as it is written.
func printed(n syntax.Node) string {
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, n); err != nil {
		return computed
	}
	return strings.TrimSpace(b.String())
}
