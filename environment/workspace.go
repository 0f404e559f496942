package environment

// Workspace is a directory that is ready for an agent.
type Workspace struct {
	// Dir is the top, an absolute path.
	Dir string `json:"dir"`
	// WorkingDir is where the agent starts, an absolute path.
	WorkingDir string `json:"working_dir"`
	// Checkouts are the repositories, in the order of Config.Repos.
	Checkouts []Checkout `json:"checkouts"`
}

// Checkout is one repository of a workspace.
type Checkout struct {
	// Repo is "owner/name", URL where it was cloned from (and where Push goes).
	Repo string `json:"repo"`
	URL  string `json:"url"`
	// Dir is its top, an absolute path.
	Dir string `json:"dir"`
	// Branch is the branch checked out; "" if HEAD is detached, or if the
	// directory was there before and is no repository.
	Branch string `json:"branch,omitempty"`
	// Commit is what the agent starts from; "" in an empty repository.
	Commit string `json:"commit,omitempty"`
	// From says where the files came from.
	From Origin `json:"from"`
}

// Origin says where a checkout came from.
type Origin string

// Origins of a checkout.
const (
	FromRemote   Origin = "remote"   // cloned
	FromMirror   Origin = "mirror"   // copied from the cache's mirror
	FromSpare    Origin = "spare"    // the cache's finished checkout
	FromWarm     Origin = "warm"     // a kept state, brought up to date
	FromExisting Origin = "existing" // a directory of that name was there
)
