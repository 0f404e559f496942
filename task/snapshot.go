package task

// Limits of a workspace snapshot (Oz platform, SNP-2).
const (
	MaxSnapshotFiles     = 100      // per run
	MaxSnapshotFileBytes = 25 << 20 // of one file
)

// SnapshotTaken records what an execution has kept of its workspace at its
// end: commits and changes that are in no remote. The newest one counts.
type SnapshotTaken struct {
	Files []SnapshotFile `json:"files,omitempty"` // at most MaxSnapshotFiles
	// Skipped says what was not kept, and why; for people.
	Skipped []string `json:"skipped,omitempty"`
}

// SnapshotKind says what a SnapshotFile is.
type SnapshotKind string

// A bundle holds the commits and changes of a repository, as "git bundle"
// makes it, to restore them; a patch has the same for people and other
// programs, as "git apply" takes it. A plain file is one that the run has
// declared. An agent file has the session files of a third party's agent, as a
// compressed tar, with which it goes on elsewhere.
const (
	SnapshotBundle SnapshotKind = "bundle"
	SnapshotPatch  SnapshotKind = "patch"
	SnapshotPlain  SnapshotKind = "file"
	SnapshotAgent  SnapshotKind = "agent"
)

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	UID       string       `json:"uid"`  // unique within the run
	Kind      SnapshotKind `json:"kind"` // what it is
	Name      string       `json:"name"` // a base name, for people
	MIMEType  string       `json:"mime_type"`
	SizeBytes int64        `json:"size_bytes"`
	Blob      string       `json:"blob"` // key in the BlobStore

	// Path is where a plain file was: below the workspace, or absolute.
	Path string `json:"path,omitempty"`
	// Repo is the repository's directory in the workspace, and Remote where it
	// came from, without credentials.
	Repo   string `json:"repo"`
	Remote string `json:"remote,omitempty"`
	// Base is the commit that the file builds on, empty for none; Head is the
	// last commit of Branch, Commit has the changes besides.
	Base   string `json:"base,omitempty"`
	Head   string `json:"head,omitempty"`
	Branch string `json:"branch,omitempty"`
	Commit string `json:"commit"`
}

// Validate checks a snapshot as an execution reports it.
func (p SnapshotTaken) Validate() error {
	if len(p.Files) > MaxSnapshotFiles || len(p.Skipped) > MaxSnapshotFiles {
		return Invalid("files", "a snapshot may have %d files", MaxSnapshotFiles)
	}
	for _, f := range p.Files {
		switch {
		case f.UID == "" || len(f.UID) > 64:
			return Invalid("files.uid", "must have 1 to 64 bytes")
		case f.Name == "" || max(len(f.Name), len(f.MIMEType), len(f.Repo), len(f.Remote), len(f.Branch), len(f.Path)) > maxArtifactText:
			return Invalid("files.name", "is needed, and no text of a file may have more than %d bytes", maxArtifactText)
		case f.Kind != SnapshotBundle && f.Kind != SnapshotPatch && f.Kind != SnapshotPlain && f.Kind != SnapshotAgent:
			return Invalid("files.kind", "%q is none of bundle, patch, file, agent", string(f.Kind))
		case (f.Kind == SnapshotPlain) != (f.Path != ""):
			return Invalid("files.path", "is for plain files, which need it")
		case f.SizeBytes < 0 || f.SizeBytes > MaxSnapshotFileBytes:
			return Invalid("files.size_bytes", "at most %d are allowed", MaxSnapshotFileBytes)
		}
	}
	return nil
}

// Handoff begins the log of a run that goes on with the conversation of
// another: what was said and done there, as the agent is told it.
type Handoff struct {
	From ID     `json:"from"` // the run that it came from
	Text string `json:"text"` // Markdown; of a long conversation the end
}
