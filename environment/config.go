package environment

import (
	"net/url"
	"path"
	"strings"
)

// Config is what a user says about an environment (Oz API,
// CloudEnvironmentConfig). It holds no secret values, only names.
type Config struct {
	// Name is shown in lists. Required, at most MaxNameRunes characters.
	Name string `json:"name,omitempty"`
	// Description is at most MaxDescriptionRunes characters.
	Description string `json:"description,omitempty"`
	// DockerImage is the image of the sandbox, where the executor uses one.
	DockerImage string `json:"docker_image,omitempty"`
	// DefaultRunner is the uid of the runner profile of runs that name none.
	DefaultRunner string `json:"default_runner_uid,omitempty"`
	// Repos are cloned before the setup commands.
	Repos []Repo `json:"github_repos,omitempty"`
	// SetupCommands run in this order after cloning. They must be idempotent.
	SetupCommands []string `json:"setup_commands,omitempty"`
	// Secrets narrows the run's secrets to these names: nil leaves all that
	// the run may use, an empty list leaves none. A run's own list beats it.
	Secrets *[]string `json:"secrets,omitempty"`
	// Providers are the clouds that the runs of the environment are signed in to, by
	// identity tokens (OpenID Connect).
	Providers *Providers `json:"providers,omitempty"`
	// FailureSessionRetentionMinutes keeps a failed run's session open for
	// debugging, 1 to 60 minutes; nil is off.
	FailureSessionRetentionMinutes *int `json:"failure_session_retention_minutes,omitempty"`
}

// Repo is one repository of an environment.
type Repo struct {
	// Owner and Name are the two parts of "owner/repo". Both are required on
	// the wire; Owner may be empty when URL is set.
	Owner string `json:"owner"`
	Name  string `json:"repo"`
	// URL is the address on any git host (ours, beside the official fields).
	// Default: the forge's address followed by owner and name.
	URL string `json:"url,omitempty"`
	// Ref is the branch, tag or full commit to check out, detached. Default:
	// the default branch.
	Ref string `json:"checkout_ref,omitempty"`
}

// Providers are the clouds a run logs in to (Oz API, CloudEnvironmentConfig).
type Providers struct {
	GCP *GCPProvider `json:"gcp,omitempty"`
	AWS *AWSProvider `json:"aws,omitempty"`
}

// GCPProvider is a workload identity federation (Oz API, GcpProviderConfig).
type GCPProvider struct {
	ProjectNumber       string `json:"project_number"`
	PoolID              string `json:"workload_identity_federation_pool_id"`
	ProviderID          string `json:"workload_identity_federation_provider_id"`
	ServiceAccountEmail string `json:"service_account_email,omitempty"`
}

// AWSProvider is a role to assume (Oz API, AwsProviderConfig).
type AWSProvider struct {
	RoleARN string `json:"role_arn"`
}

// String gives "owner/name", or the name alone.
func (r Repo) String() string {
	if r.Owner == "" {
		return r.Name
	}
	return r.Owner + "/" + r.Name
}

// Dir is the name of the directory the repository is cloned to.
func (r Repo) Dir() string { return r.Name }

// Address gives the URL to clone from. forge is the address of the git host
// that bare owner/name pairs live on, such as "https://github.com".
func (r Repo) Address(forge string) string {
	if r.URL != "" {
		return r.URL
	}
	return strings.TrimRight(forge, "/") + "/" + r.Owner + "/" + r.Name
}

// ParseRepo reads a repository as people write it: "owner/repo", or the URL of
// one, whose last two parts then are owner and name.
func ParseRepo(s string) (Repo, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		owner, name, _ := strings.Cut(s, "/")
		r := Repo{Owner: owner, Name: name}
		return r, r.validate("repo")
	}
	r := Repo{URL: s}
	if err := r.checkURL("repo"); err != nil {
		return Repo{}, err
	}
	if u, err := url.Parse(s); err == nil {
		clean := path.Clean("/" + u.Path)
		r.Name = strings.TrimSuffix(path.Base(clean), ".git")
		if owner := path.Base(path.Dir(clean)); u.Scheme != "file" && owner != "/" {
			r.Owner = owner
		}
	}
	return r, r.validate("repo")
}
