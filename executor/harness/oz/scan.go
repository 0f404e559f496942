package ozagent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oz-platform/cloudagents/executor/harness"
)

// maxScannedCommits bounds what one push may bring.
const maxScannedCommits = 2000

// scanStaged stages all changes and refuses those that add a secret.
func (a *agent) scanStaged(ctx context.Context, repo harness.Repo) error {
	if _, err := a.s.Git.Run(ctx, repo.Dir, "add", "--all"); err != nil {
		return gitRefused(ctx, err)
	}
	names, err := a.scanDiff(ctx, repo, "diff", "--cached")
	if err != nil {
		return err
	}
	if len(names) > 0 {
		if _, err := a.s.Git.Run(ctx, repo.Dir, "reset", "--quiet"); err != nil {
			return gitRefused(ctx, err)
		}
		return deny("The change contains the value of the secret %s. Nothing was committed. Take it out; in code use the environment variable.", strings.Join(names, ", "))
	}
	return nil
}

// scanCommits refuses to push commits that add a secret anywhere, be it gone
// again in a later one.
func (a *agent) scanCommits(ctx context.Context, repo harness.Repo, head string) error {
	span := head
	if repo.Base != "" {
		span = repo.Base + ".." + head
	}
	res, err := a.s.Git.Run(ctx, repo.Dir, "rev-list", span, "--")
	if err != nil {
		return gitRefused(ctx, err)
	}
	commits := strings.Fields(string(res.Stdout))
	if len(commits) > maxScannedCommits || res.Truncated {
		return refuse("The branch has more than %d new commits; they cannot all be checked for secrets. Squash them.", maxScannedCommits)
	}
	for _, c := range commits {
		names, err := a.scanDiff(ctx, repo, "show", "--first-parent", "--diff-merges=first-parent", "--format=", c)
		if err != nil {
			return err
		}
		message, err := a.s.Git.Run(ctx, repo.Dir, "log", "-1", "--format=%an%n%ae%n%cn%n%ce%n%B", c)
		if err != nil {
			return gitRefused(ctx, err)
		}
		if names = append(names, a.s.Redactor.Contains(message.Stdout)...); len(names) > 0 {
			slices.Sort(names)
			return deny("Commit %s contains the value of the secret %s. Nothing was pushed. Rewrite the commit without it: a later commit does not take it back.",
				c, strings.Join(slices.Compact(names), ", "))
		}
	}
	return nil
}

// scanDiff names the secrets in what a diff command adds.
func (a *agent) scanDiff(ctx context.Context, repo harness.Repo, args ...string) ([]string, error) {
	whole := slices.Insert(slices.Clone(args), 1, "--text", "--no-color", "--unified=0", "--no-renames")
	res, err := a.s.Git.Run(ctx, repo.Dir, whole...)
	if err != nil {
		return nil, gitRefused(ctx, err)
	}
	if !res.Truncated {
		return a.s.Redactor.Contains(added(res.Stdout)), nil
	}
	return a.scanByFile(ctx, repo, args)
}

// scanByFile is scanDiff for a change that is too large for one look.
func (a *agent) scanByFile(ctx context.Context, repo harness.Repo, args []string) ([]string, error) {
	list := slices.Insert(slices.Clone(args), 1, "--name-only", "-z", "--no-renames", "--diff-filter=d")
	res, err := a.s.Git.Run(ctx, repo.Dir, list...)
	if err != nil {
		return nil, gitRefused(ctx, err)
	}
	if res.Truncated {
		return nil, refuse("The change has too many files to check them for secrets. Is there build output that .gitignore should name?")
	}
	var names []string
	for path := range strings.SplitSeq(string(res.Stdout), "\x00") {
		if path == "" {
			continue
		}
		one := slices.Insert(slices.Clone(args), 1, "--text", "--no-color", "--unified=0", "--no-renames")
		diff, err := a.s.Git.Run(ctx, repo.Dir, append(one, "--", ":(literal,top)"+path)...)
		if err != nil {
			return nil, gitRefused(ctx, err)
		}
		if diff.Truncated {
			return nil, refuse("%s is too large to check it for secrets. Leave it out of the commit, or report it with report_artifact.", fmt.Sprintf("%q", path))
		}
		names = append(names, a.s.Redactor.Contains(added(diff.Stdout))...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// added gives the lines that a diff adds, and the names of the files. An empty
// file has no line with a plus: its name is in the header only.
func added(diff []byte) []byte {
	var out []byte
	header := ""
	for line := range strings.Lines(string(diff)) {
		switch {
		case strings.HasPrefix(line, "+"):
			out = append(out, line[1:]...)
		case strings.HasPrefix(line, "diff --git "):
			header = line
		case strings.HasPrefix(line, "new file mode "):
			out = append(out, header...)
		}
	}
	return out
}
