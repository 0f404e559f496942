package environment

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oz-platform/cloudagents/environment/git"
	"github.com/oz-platform/cloudagents/task"
)

// Limits of a Config. Together they keep an environment well below
// task.MaxRecordBytes.
const (
	// MaxNameRunes fits a name on one line of a list.
	MaxNameRunes = 100
	// MaxDescriptionRunes is the platform's limit (Oz CLI, environment create).
	MaxDescriptionRunes = 240
	// MaxImageBytes bounds an image reference: 255 for the name, 128 for the
	// tag, 135 for a digest, and the marks between (OCI distribution).
	MaxImageBytes = 520
	// MaxRepos bounds the clones of one run.
	MaxRepos = 50
	// MaxRepoNameBytes is GitHub's limit for a repository's name.
	MaxRepoNameBytes = 100
	// MaxSetupCommands and MaxCommandBytes bound the setup; a longer script
	// belongs in the repository. Linux takes 128 KiB in one argument.
	MaxSetupCommands = 100
	MaxCommandBytes  = 8 << 10
	// MaxSetupBytes bounds all commands together, so that a record has room
	// for them even if every byte must be escaped.
	MaxSetupBytes = 256 << 10
	// MaxSecretNames bounds the allow list.
	MaxSecretNames = 200
	// MaxRetentionMinutes is the platform's limit (Oz API, CloudEnvironmentConfig).
	MaxRetentionMinutes = 60
	// maxProviderBytes bounds each provider field; an ARN takes up to 2048.
	maxProviderBytes = 2048
)

// Validate checks c against the limits of this package. The error is a
// *task.Error with task.CodeInvalidRequest that names the first field at fault.
func (c Config) Validate() error {
	for _, check := range []func() error{
		c.validateText, c.validateRepos, c.validateCommands, c.validateSecrets, c.validateProviders,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) validateText() error {
	if strings.TrimSpace(c.Name) == "" {
		return task.Invalid("name", "is required: say what the environment is for, in at most %d characters", MaxNameRunes)
	}
	if err := checkText("name", c.Name, MaxNameRunes, false); err != nil {
		return err
	}
	if err := checkText("description", c.Description, MaxDescriptionRunes, true); err != nil {
		return err
	}
	if err := checkText("docker_image", c.DockerImage, MaxImageBytes, false); err != nil {
		return err
	}
	if err := checkText("default_runner_uid", c.DefaultRunner, MaxNameRunes, false); err != nil {
		return err
	}
	if strings.HasPrefix(c.DockerImage, "-") || strings.ContainsAny(c.DockerImage, " \t") {
		return task.Invalid("docker_image", "must be an image reference such as ubuntu:22.04, without spaces")
	}
	if m := c.FailureSessionRetentionMinutes; m != nil && (*m < 1 || *m > MaxRetentionMinutes) {
		return task.Invalid("failure_session_retention_minutes", "is %d, must be 1 to %d, or null for off", *m, MaxRetentionMinutes)
	}
	return nil
}

// checkText bounds a text and refuses what a list or a terminal cannot show.
func checkText(field, s string, maxRunes int, multiline bool) error {
	if !utf8.ValidString(s) {
		return task.Invalid(field, "is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(s); n > maxRunes {
		return task.Invalid(field, "has %d characters, at most %d are allowed", n, maxRunes)
	}
	for _, r := range s {
		if unicode.IsControl(r) && !(multiline && (r == '\n' || r == '\t')) {
			return task.Invalid(field, "has the control character %U: remove it", r)
		}
	}
	return nil
}

func (c Config) validateRepos() error {
	if len(c.Repos) > MaxRepos {
		return task.Invalid("github_repos", "has %d repositories, at most %d are allowed", len(c.Repos), MaxRepos)
	}
	first := map[string]int{}
	for i, r := range c.Repos {
		if err := r.validate(fmt.Sprintf("github_repos[%d]", i)); err != nil {
			return err
		}
		// Some file systems hold a name in one case only.
		dir := strings.ToLower(r.Dir())
		if j, dup := first[dir]; dup {
			return task.Invalid(fmt.Sprintf("github_repos[%d]", i),
				"would be cloned to the same directory %q as github_repos[%d] (%s): put one of them in another environment", r.Dir(), j, c.Repos[j])
		}
		first[dir] = i
	}
	return nil
}

// Names of owners (with the groups of some hosts) and of repositories.
var (
	ownerPattern = regexp.MustCompile(`^[A-Za-z0-9_~.][A-Za-z0-9_.~-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.-]*$`)
)

func (r Repo) validate(field string) error {
	if len(r.Name) > MaxRepoNameBytes || !namePattern.MatchString(r.Name) {
		return task.Invalid(field+".repo", "must be the repository's name: 1 to %d letters, digits, '-', '_' or '.', not beginning with '-'", MaxRepoNameBytes)
	}
	if strings.Trim(r.Name, ".") == "" || strings.EqualFold(r.Name, ".git") || strings.EqualFold(r.Name, stateDir) {
		return task.Invalid(field+".repo", "must not be %q, which has a meaning of its own in a workspace", r.Name)
	}
	if r.Owner == "" && r.URL == "" {
		return task.Invalid(field+".owner", "is required: write the repository as owner/repo, or give its url")
	}
	if r.Owner != "" && (len(r.Owner) > git.MaxRefBytes || !ownerPattern.MatchString(r.Owner) || hasDotPart(r.Owner)) {
		return task.Invalid(field+".owner", "must be the repository's owner: at most %d letters, digits, '-', '_' or '.', not beginning with '-'", git.MaxRefBytes)
	}
	if err := r.checkURL(field); err != nil {
		return err
	}
	if r.Ref == "" {
		return nil
	}
	if err := git.CheckRef(r.Ref); err != nil {
		return task.Invalid(field+".checkout_ref", "%w: give a branch, a tag or a full commit", err)
	}
	return nil
}

func (r Repo) checkURL(field string) error {
	if r.URL == "" {
		return nil
	}
	if err := git.CheckURL(r.URL); err != nil {
		return task.Invalid(field+".url", "%w", err)
	}
	return nil
}

func hasDotPart(owner string) bool {
	for part := range strings.SplitSeq(owner, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

func (c Config) validateCommands() error {
	if len(c.SetupCommands) > MaxSetupCommands {
		return task.Invalid("setup_commands", "has %d commands, at most %d are allowed: put them in a script in the repository", len(c.SetupCommands), MaxSetupCommands)
	}
	total := 0
	for i, cmd := range c.SetupCommands {
		total += len(cmd)
		field := fmt.Sprintf("setup_commands[%d]", i)
		switch {
		case strings.TrimSpace(cmd) == "":
			return task.Invalid(field, "is empty: remove it")
		case len(cmd) > MaxCommandBytes:
			return task.Invalid(field, "has %d bytes, at most %d are allowed: put it in a script in the repository", len(cmd), MaxCommandBytes)
		}
		if err := checkText(field, strings.ReplaceAll(cmd, "\r\n", "\n"), MaxCommandBytes, true); err != nil {
			return err
		}
	}
	if total > MaxSetupBytes {
		return task.Invalid("setup_commands", "have %d bytes together, at most %d are allowed: put them in a script in the repository", total, MaxSetupBytes)
	}
	return nil
}

// secretName is the form of an environment variable (Oz platform, secrets).
var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

func (c Config) validateSecrets() error {
	if c.Secrets == nil {
		return nil
	}
	if len(*c.Secrets) > MaxSecretNames {
		return task.Invalid("secrets", "has %d names, at most %d are allowed", len(*c.Secrets), MaxSecretNames)
	}
	for i, name := range *c.Secrets {
		if !secretName.MatchString(name) {
			return task.Invalid(fmt.Sprintf("secrets[%d]", i), "must be the name of a secret: letters, digits and '_', not beginning with a digit")
		}
	}
	return nil
}

func (c Config) validateProviders() error {
	if c.Providers == nil {
		return nil
	}
	type entry struct {
		field, value string
		required     bool
	}
	var entries []entry
	if p := c.Providers.GCP; p != nil {
		entries = append(entries,
			entry{"gcp.project_number", p.ProjectNumber, true},
			entry{"gcp.workload_identity_federation_pool_id", p.PoolID, true},
			entry{"gcp.workload_identity_federation_provider_id", p.ProviderID, true},
			entry{"gcp.service_account_email", p.ServiceAccountEmail, false})
	}
	if p := c.Providers.AWS; p != nil {
		entries = append(entries, entry{"aws.role_arn", p.RoleARN, true})
	}
	for _, e := range entries {
		if e.required && strings.TrimSpace(e.value) == "" {
			return task.Invalid("providers."+e.field, "is required")
		}
		if err := checkText("providers."+e.field, e.value, maxProviderBytes, false); err != nil {
			return err
		}
	}
	return nil
}
