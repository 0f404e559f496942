package git

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// setting is one configuration value given at command scope.
type setting struct{ key, value string }

// allowedProtocols are the transports a URL may name; "ext" runs any program.
var allowedProtocols = []string{"file", "git", "http", "https", "ssh"}

// hardened are the settings of every command. Nothing inside a repository can
// override them.
func hardened() []setting {
	s := []setting{
		{"core.hooksPath", "/dev/null"},
		{"core.fsmonitor", "false"},
		{"core.untrackedCache", "false"},
		{"core.pager", "cat"},
		{"core.editor", ":"},
		{"sequence.editor", ":"},
		{"core.askPass", ""},
		{"core.alternateRefsCommand", ""},
		{"core.attributesFile", "/dev/null"},
		{"core.excludesFile", "/dev/null"},
		{"credential.helper", ""}, // an empty value forgets the helpers named so far
		{"commit.gpgSign", "false"},
		{"tag.gpgSign", "false"},
		{"push.gpgSign", "false"},
		{"log.showSignature", "false"},
		{"merge.verifySignatures", "false"},
		{"gpg.program", "false"}, // the program of that name: no signature is good
		{"gpg.openpgp.program", "false"},
		{"gpg.x509.program", "false"},
		{"gpg.ssh.program", "false"},
		{"gpg.ssh.defaultKeyCommand", ""},
		{"fetch.unpackLimit", "1"}, // packs carry a checksum, loose objects do not
		{"gc.auto", "0"},           // no background work in a workspace
		{"maintenance.auto", "false"},
		{"fetch.recurseSubmodules", "false"},
		{"submodule.recurse", "false"},
		{"diff.ignoreSubmodules", "dirty"}, // to look closer, git reads the submodule's own configuration
		{"status.submoduleSummary", "false"},
		{"init.templateDir", ""},
		{"init.defaultBranch", "main"},
		{"checkout.workers", "0"}, // as many as there are processors
		{"http.followRedirects", "initial"},
		{"color.ui", "false"},
		{"core.quotePath", "false"},
		{"advice.detachedHead", "false"},
		{"protocol.allow", "never"},
		{"protocol.ext.allow", "never"},
	}
	for _, p := range allowedProtocols {
		s = append(s, setting{"protocol." + p + ".allow", "always"})
	}
	return s
}

// inherited are the variables of our own process that git gets too: how to
// reach the network and whom to trust there, and nothing else.
var inherited = []string{
	"PATH", "TMPDIR", "TZ",
	"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
	"SSH_AUTH_SOCK",
}

// environment builds what every git process starts with.
func (g *Git) environment(parent []string) []string {
	env := []string{
		"HOME=" + g.state,
		"LC_ALL=C", // errors are classified by their text
		"GIT_TERMINAL_PROMPT=0",
		"GH_PROMPT_DISABLED=1",
		"GIT_ASKPASS=",
		"SSH_ASKPASS=",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + g.globalConfig(),
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_EDITOR=:",
		"GIT_PAGER=cat",
		"GIT_ALLOW_PROTOCOL=" + strings.Join(allowedProtocols, ":"),
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_PROXY_COMMAND=",       // core.gitProxy: of several values the first counts, so no setting of ours does
		"GIT_NO_REPLACE_OBJECTS=1", // what is shown is what would be pushed
		"GIT_LFS_SKIP_SMUDGE=1",
		"GIT_SSH_COMMAND=ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(g.state), // a remote query never finds a repository above
		"GIT_AUTHOR_NAME=" + g.opts.Name,
		"GIT_AUTHOR_EMAIL=" + g.opts.Email,
		"GIT_COMMITTER_NAME=" + g.opts.Name,
		"GIT_COMMITTER_EMAIL=" + g.opts.Email,
	}
	for _, v := range parent {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(inherited, name) {
			env = append(env, v)
		}
	}
	return env
}

// configEnv gives settings to git through its environment: command scope, like
// -c, but not in the argument list.
func configEnv(settings []setting) []string {
	env := []string{fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(settings))}
	for i, s := range settings {
		env = append(env,
			fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s.key),
			fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s.value))
	}
	return env
}
