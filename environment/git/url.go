package git

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of names that reach git's command line. Git hosts allow less; the
// limits keep errors and listings readable.
const (
	MaxURLBytes = 2048
	MaxRefBytes = 244 // a file name of 255 bytes less ".lock" and a little
)

// CheckURL says what is wrong with the address of a repository: it must be an
// absolute URL of scheme https, http, ssh, git or file, without a password,
// query or fragment. Only ssh may name a user.
func CheckURL(raw string) error {
	switch {
	case raw == "":
		return errors.New("is empty")
	case len(raw) > MaxURLBytes:
		return fmt.Errorf("is longer than %d bytes", MaxURLBytes)
	case !utf8.ValidString(raw):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return errors.New("has a space or a control character")
	}
	u, err := url.Parse(raw)
	if err != nil { // the parser's error quotes the URL, which may hold a password
		return errors.New("is not a URL")
	}
	return checkParts(raw, u)
}

func checkParts(raw string, u *url.URL) error {
	switch {
	case !slices.Contains(allowedProtocols, u.Scheme):
		return errors.New("must begin with https://, http://, ssh://, git:// or file://, as in https://host/owner/repo or ssh://git@host/owner/repo")
	case !strings.HasPrefix(raw[len(u.Scheme):], "://"): // git would take it for the name of an ssh host
		return fmt.Errorf("must have // after %q", u.Scheme+":")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("must not have a query or a fragment")
	case u.User != nil && u.Scheme != "ssh":
		return errors.New("must not hold credentials: store them as a secret and leave out the part before @")
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			return errors.New("must not hold a password: store it as a secret")
		}
		if strings.HasPrefix(u.User.Username(), "-") {
			return errors.New("must not have a user that begins with '-'")
		}
	}
	switch {
	case u.Scheme == "file" && u.Host != "":
		return errors.New("must name a local path, as in file:///srv/git/app.git")
	case u.Scheme != "file" && u.Hostname() == "":
		return errors.New("names no host")
	case strings.HasPrefix(u.Host, "-") || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-"):
		return errors.New("must not have a host or path that begins with '-'")
	case strings.Trim(u.Path, "/") == "":
		return errors.New("names no repository")
	}
	return nil
}

// CheckRef says what is wrong with a branch, tag or commit name, by the rules
// of git-check-ref-format.
func CheckRef(ref string) error {
	switch {
	case ref == "":
		return errors.New("is empty")
	case len(ref) > MaxRefBytes:
		return fmt.Errorf("is longer than %d bytes", MaxRefBytes)
	case !utf8.ValidString(ref):
		return errors.New("is not valid UTF-8")
	case strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "+"):
		return errors.New("must not begin with '-' or '+'")
	case ref == "@" || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.Contains(ref, "//"):
		return errors.New(`must not be "@" nor contain "..", "@{" or "//"`)
	case strings.ContainsAny(ref, " ~^:?*[\\") || strings.ContainsFunc(ref, unicode.IsControl):
		return errors.New(`must not contain a space, a control character or any of ~^:?*[\`)
	case strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, "."):
		return errors.New("must not begin with '/' nor end with '/' or '.'")
	}
	for part := range strings.SplitSeq(ref, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return errors.New(`must not have a part that begins with '.' or ends with ".lock"`)
		}
	}
	return nil
}

// IsCommit reports that ref is a full commit name: 40 lower-case hexadecimal
// digits, or 64 in a SHA-256 repository.
func IsCommit(ref string) bool {
	return (len(ref) == 40 || len(ref) == 64) && strings.Trim(ref, "0123456789abcdef") == ""
}

// credentialHost gives the host that credentials may be asked for: that of an
// https URL, or of an http URL to this machine. Otherwise "".
func credentialHost(raw string) (base, host, path string) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", ""
	}
	if u.Scheme == "https" || (u.Scheme == "http" && isLoopback(u.Hostname())) {
		return u.Scheme + "://" + u.Host, u.Host, strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	}
	return "", "", ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
