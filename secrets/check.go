package secrets

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// MinValueBytes is the length under which a value is no secret: it would be
	// guessed, and redacting it would black out ordinary text.
	MinValueBytes = 8

	// MaxVariableBytes bounds NAME=value with its closing NUL: the length Linux
	// allows one string of a process's environment (MAX_ARG_STRLEN).
	MaxVariableBytes = 131072

	// MaxNameBytes bounds the name of a secret.
	MaxNameBytes = 255

	// minDistinct and minEntropyBits are the variety below which a value counts
	// as guessable: a random string of 8 lower-case letters has about 21 bits by
	// this measure, "aaaaaaab" has 4.
	minDistinct    = 5
	minEntropyBits = 16
)

// CheckValue returns nil if value can serve as a secret, else a
// [task.CodeInvalidRequest] error that says what to do. It refuses values that are
// too short or too long, that anybody would guess, and that no environment variable
// can hold. The error never quotes the value.
func CheckValue(value string) error {
	if strings.IndexByte(value, 0) >= 0 {
		return task.Invalid("value", "an environment variable cannot hold a NUL byte; encode the value, for example in base64")
	}
	if len(value) >= MaxVariableBytes {
		return task.Invalid("value", "the value has %d bytes; NAME=value of a secret may have less than %d: "+
			"store a smaller one and let setup commands fetch the rest", len(value), MaxVariableBytes)
	}
	if why := weakness(normalise(value)); why != "" {
		return task.Invalid("value", "the value %s: a secret that is easily guessed protects nothing, and hiding it would "+
			"hide ordinary text. Use a longer random value, or a plain environment variable if it is not secret", why)
	}
	return nil
}

// CheckVariable is CheckValue together with what NAME=value must satisfy as an
// environment variable.
func CheckVariable(name, value string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if err := CheckValue(value); err != nil {
		return err
	}
	return CheckSize(name, value)
}

// CheckSize returns an error if NAME=value and its closing NUL exceed MaxVariableBytes.
func CheckSize(name, value string) error {
	if n := len(name) + len("=") + len(value) + len("\x00"); n > MaxVariableBytes {
		return task.Invalid("value", "%s=value takes %d bytes; Linux allows an environment variable %d: "+
			"store a smaller value and let setup commands fetch the rest", name, n, MaxVariableBytes)
	}
	return nil
}

// CheckName returns nil if name can be the environment variable of a secret.
func CheckName(name string) error {
	if name == "" || len(name) > MaxNameBytes {
		return task.Invalid("name", "the name of a secret has 1 to %d characters, this one has %d", MaxNameBytes, len(name))
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return task.Invalid("name", "the name of a secret is the name of an environment variable: letters, digits "+
				"and _, no digit first; %q is none", name)
		}
	}
	if reserved(name) {
		return task.Invalid("name", "%s is reserved: it would change how programs run, not hand them a secret; choose another name", name)
	}
	return nil
}

// reserved reports names that steer the shell, the loader, git or the agent
// itself, so that who may write secrets cannot take over who uses them. Case does
// not matter, because some programs (proxies) read both.
func reserved(name string) bool {
	upper := strings.ToUpper(name)
	switch upper {
	case "PATH", "HOME", "SHELL", "USER", "LOGNAME", "PWD", "OLDPWD", "TMPDIR", "TERM", "CI", "LANG",
		"IFS", "ENV", "BASH_ENV", "PS4", "PROMPT_COMMAND", "SHELLOPTS", "BASHOPTS", "CDPATH", "EDITOR", "VISUAL", "PAGER",
		"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT",
		"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "GOFLAGS", "GOROOT", "CLASSPATH", "SSH_ASKPASS", "SSH_AUTH_SOCK", "SUDO_ASKPASS":
		return true
	}
	if gitSteering(upper) {
		return true
	}
	for _, prefix := range []string{"LD_", "DYLD_", "OZ_", "WARP_", "LC_", "BASH_FUNC"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	return false
}

// gitSteering reports the variables of git that change what it executes, reads or
// trusts (git(1), "Environment Variables"). GIT_TOKEN and the like are not among them.
func gitSteering(name string) bool {
	rest, ok := strings.CutPrefix(name, "GIT_")
	if !ok {
		return false
	}
	switch rest {
	case "SSH", "SSH_COMMAND", "SSH_VARIANT", "ASKPASS", "EXEC_PATH", "TEMPLATE_DIR", "DIR", "WORK_TREE", "COMMON_DIR",
		"INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "NAMESPACE", "CEILING_DIRECTORIES", "EDITOR",
		"SEQUENCE_EDITOR", "PAGER", "EXTERNAL_DIFF", "PROXY_COMMAND", "TERMINAL_PROMPT", "ALLOW_PROTOCOL",
		"PROTOCOL_FROM_USER", "SSL_NO_VERIFY", "SSL_CAINFO", "SSL_CAPATH", "ATTR_SOURCE", "ATTR_NOSYSTEM", "REDIRECT_STDIN",
		"REDIRECT_STDOUT", "REDIRECT_STDERR", "CURL_VERBOSE":
		return true
	}
	return strings.HasPrefix(rest, "CONFIG") || strings.HasPrefix(rest, "TRACE") ||
		strings.HasPrefix(rest, "AUTHOR_") || strings.HasPrefix(rest, "COMMITTER_")
}

// weakness says why text is no secret, or nothing.
func weakness(text string) string {
	runes := utf8.RuneCountInString(text)
	if runes < MinValueBytes {
		return fmt.Sprintf("has %d characters that count, fewer than %d", runes, MinValueBytes)
	}
	if commonplace(text) {
		return "is a common password or a placeholder"
	}
	if p := period(text); p < MinValueBytes {
		return "repeats one short piece"
	}
	distinct, bits := variety(text)
	if distinct < minDistinct {
		return fmt.Sprintf("is made of only %d different characters", distinct)
	}
	if bits < minEntropyBits {
		return "is too regular"
	}
	return ""
}

// variety counts the different characters of text, and its Shannon entropy in bits
// over those characters that are not foreseeable: neither equal to the one before
// nor its neighbour in the code table or on the keyboard ("1234", "qwerty").
func variety(text string) (distinct int, bits float64) {
	seen := map[rune]int{}
	count, last := 0, rune(-10)
	for _, r := range text {
		if _, ok := seen[r]; !ok {
			seen[r] = 0
		}
		if !foreseeable(last, r) {
			seen[r]++
			count++
		}
		last = r
	}
	for _, n := range seen {
		if n > 0 {
			p := float64(n) / float64(count)
			bits -= float64(n) * math.Log2(p)
		}
	}
	return len(seen), bits
}

func foreseeable(last, next rune) bool {
	if d := next - last; d >= -1 && d <= 1 {
		return true
	}
	for _, row := range []string{"qwertyuiop", "asdfghjkl", "zxcvbnm", "90"} {
		if i := strings.IndexRune(row, last|0x20); i >= 0 && i+1 < len(row) && rune(row[i+1]) == next|0x20 {
			return true
		}
	}
	return false
}

// period returns the length of the shortest piece that text repeats from start to
// end (len(text) if none), by the failure function of Knuth, Morris and Pratt.
func period(text string) int {
	fail := make([]int32, len(text))
	for i := 1; i < len(text); i++ {
		k := fail[i-1]
		for k > 0 && text[i] != text[k] {
			k = fail[k-1]
		}
		if text[i] == text[k] {
			k++
		}
		fail[i] = k
	}
	return len(text) - int(fail[len(text)-1])
}

// commonplace recognises the passwords that are tried first and what manuals put
// where a secret belongs. Case and punctuation do not count.
func commonplace(text string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(text))
	switch strings.TrimRight(letters, "0123456789") {
	case "password", "passwort", "passw", "changeme", "changeit", "changethis", "letmein", "iloveyou", "sunshine",
		"princess", "football", "baseball", "superman", "trustno", "welcome", "admin", "administrator", "qwerty", "abc",
		"secret", "mysecret", "supersecret", "topsecret", "secretkey", "default", "example", "placeholder", "redacted",
		"yourapikey", "yourapikeyhere", "yourtoken", "yourtokenhere", "yoursecret", "yoursecrethere", "yourpassword",
		"insertkeyhere", "replaceme", "todo", "undefined", "localhost", "production", "development", "staging":
		return true
	}
	return false
}
