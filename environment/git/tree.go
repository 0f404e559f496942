package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tipRef is what FetchTip brings a commit as.
const tipRef = "refs/oz/tip"

// FetchTip brings the newest commit of ref at url, or of its HEAD if ref is "",
// into the bare repository dir, which is made if it is not there, and returns
// it. History is left out, and so are the files' contents, if the remote
// allows that: see ReadBlobs. The repository must be one that this method made
// and nobody else has touched, as for Fetch.
func (g *Git) FetchTip(ctx context.Context, dir, url, ref string) (commit string, err error) {
	if ref == "" {
		ref = "HEAD"
	} else if err := CheckRef(ref); err != nil {
		return "", fmt.Errorf("ref %q %w", ref, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if _, err := g.own(ctx, g.state, "init", "--quiet", "--bare", "--", dir); err != nil {
			return "", err
		}
	}
	err = g.fetchTip(ctx, dir, url, ref, "--filter=blob:none")
	if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "filter") { // as in Clone
		err = g.fetchTip(ctx, dir, url, ref)
	}
	if err != nil {
		return "", err
	}
	res, err := g.own(ctx, dir, "rev-parse", "--verify", "--quiet", tipRef+"^{commit}")
	return strings.TrimSpace(string(res.Stdout)), err
}

func (g *Git) fetchTip(ctx context.Context, dir, url, ref string, flags ...string) error {
	_, err := g.remoteExec(ctx, url, dir, "fetch", func(url string) []string {
		args := append([]string{"fetch", "--quiet", "--force", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"}, flags...)
		return append(args, "--", url, "+"+ref+":"+tipRef)
	})
	return err
}

// TreeFile is a file of a commit.
type TreeFile struct {
	Path string // with slashes
	Blob string // its content's name
}

// TreeFiles lists the regular files of a commit below some folders, without
// following links or looking into submodules. The repository must be one that
// this package made, as for Fetch.
func (g *Git) TreeFiles(ctx context.Context, dir, commit string, folders ...string) ([]TreeFile, error) {
	if !IsCommit(commit) {
		return nil, fmt.Errorf("commit %q is not a full commit name", commit)
	}
	res, err := g.own(ctx, dir, append([]string{"ls-tree", "-r", "-z", "--full-tree", commit, "--"}, folders...)...)
	if err != nil {
		return nil, err
	}
	if res.Truncated {
		return nil, fmt.Errorf("git ls-tree: the folders list more than %d bytes of files", g.opts.MaxOutputBytes)
	}
	var files []TreeFile
	for entry := range strings.SplitSeq(strings.TrimRight(string(res.Stdout), "\x00"), "\x00") {
		what, path, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(what) // mode, type, name
		if len(fields) == 3 && strings.HasPrefix(fields[0], "100") && IsCommit(fields[2]) {
			files = append(files, TreeFile{Path: path, Blob: fields[2]})
		}
	}
	return files, nil
}

// ReadBlobs gives the contents of blobs, fetching from url those that FetchTip
// left out. One that is larger than maxBytes is left out of the answer. The
// repository must be one that this package made, as for Fetch.
func (g *Git) ReadBlobs(ctx context.Context, dir, url string, maxBytes int64, blobs ...string) (map[string][]byte, error) {
	if len(blobs) == 0 {
		return nil, nil
	}
	for _, b := range blobs {
		if !IsCommit(b) {
			return nil, fmt.Errorf("%q is not the name of a blob", b)
		}
	}
	if err := g.fetchBlobs(ctx, dir, url, blobs); err != nil {
		return nil, err
	}
	small, err := g.smallBlobs(ctx, dir, maxBytes, blobs)
	if err != nil || len(small) == 0 {
		return nil, err
	}
	res, err := g.exec(ctx, command{op: "cat-file", dir: dir, args: []string{"cat-file", "--batch"},
		stdin: strings.Join(small, "\n") + "\n", timeout: g.opts.LocalTimeout})
	if err != nil {
		return nil, err
	}
	if res.Truncated {
		return nil, fmt.Errorf("git cat-file: the files have more than %d bytes together", g.opts.MaxOutputBytes)
	}
	return parseBatch(res.Stdout)
}

// fetchBlobs brings the blobs that are not there, all at once: git itself would
// ask for them one by one.
func (g *Git) fetchBlobs(ctx context.Context, dir, url string, blobs []string) error {
	r, err := g.remote(ctx, url)
	if err != nil {
		return err
	}
	args := append([]string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
		"--filter=blob:none", "--", r.url}, blobs...)
	// Without negotiation: of a commit that we say we have, the remote would
	// take us to have the contents.
	settings := append(r.settings, setting{"fetch.negotiationAlgorithm", "noop"})
	_, err = g.exec(ctx, command{op: "fetch", dir: dir, args: args, env: r.env, settings: settings, secrets: r.secrets, timeout: g.opts.RemoteTimeout})
	return err
}

// smallBlobs picks those of at most maxBytes.
func (g *Git) smallBlobs(ctx context.Context, dir string, maxBytes int64, blobs []string) ([]string, error) {
	res, err := g.exec(ctx, command{op: "cat-file", dir: dir, args: []string{"cat-file", "--batch-check"},
		stdin: strings.Join(blobs, "\n") + "\n", timeout: g.opts.LocalTimeout})
	if err != nil {
		return nil, err
	}
	var small []string
	for line := range strings.Lines(string(res.Stdout)) {
		fields := strings.Fields(line) // name, type, size
		if len(fields) != 3 || fields[1] != "blob" {
			continue
		}
		if size, err := strconv.ParseInt(fields[2], 10, 64); err == nil && size <= maxBytes {
			small = append(small, fields[0])
		}
	}
	return small, nil
}

// parseBatch reads the output of cat-file --batch.
func parseBatch(out []byte) (map[string][]byte, error) {
	contents := map[string][]byte{}
	for len(out) > 0 {
		head, rest, _ := bytes.Cut(out, []byte("\n"))
		fields := strings.Fields(string(head))
		if len(fields) != 3 {
			return nil, errors.New("git cat-file: cannot read its answer")
		}
		size, err := strconv.Atoi(fields[2])
		if err != nil || size < 0 || size >= len(rest) { // a line break follows
			return nil, errors.New("git cat-file: its answer is cut off")
		}
		contents[fields[0]] = bytes.Clone(rest[:size])
		out = rest[size+1:]
	}
	return contents, nil
}
