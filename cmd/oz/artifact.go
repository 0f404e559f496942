package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// artifactLines show an artifact (Oz API, ArtifactResponse), but for its link,
// which is as good as the file itself.
var artifactLines = []column{
	{"Artifact", ".artifact_uid"}, {"Type", ".artifact_type"}, {"Name", ".data.filename // .data.title"}, {"Path", ".data.filepath"}, {"Size", `.data.size_bytes | if . then "\(.) bytes" else "" end`},
	{"Content type", ".data.content_type"}, {"Description", ".data.description"}, {"Created", ".created_at"},
}

func (a *app) artifactCommand() *cobra.Command {
	return group("artifact", "Read and add what runs produce", nil,
		a.get(item{use: "get <UID>", short: "Show an artifact: a file, a screenshot or a plan", argument: "artifact uid", path: "/agent/artifacts/%s", lines: artifactLines,
			example: "  oz artifact get ARTIFACT_UID --output-format json"}),
		a.artifactDownloadCommand(), a.artifactVersionsCommand(), a.artifactUploadCommand())
}

func (a *app) artifactDownloadCommand() *cobra.Command {
	var out string
	var force bool
	cmd := &cobra.Command{Use: "download <UID>", Short: "Save an artifact's file, or a plan's text", Args: oneArg("artifact uid"),
		Example: "  oz artifact download ARTIFACT_UID -o report.pdf\n  oz artifact download ARTIFACT_UID -o -",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			f, err := c.Artifact(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out == "-" {
				return c.Download(cmd.Context(), args[0], a.out)
			}
			return a.saveArtifact(cmd.Context(), c, f, cmp.Or(out, defaultName(f)), force)
		}}
	cmd.Flags().StringVarP(&out, "out", "o", "", "`path` to save it at; - is standard output (default its name, in the current directory)")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite a file that is there")
	return cmd
}

// defaultName is where an artifact is saved: its name was chosen by an agent
// and must not lead elsewhere.
func defaultName(f client.File) string {
	name := filepath.Base(filepath.FromSlash(cmp.Or(f.Name, f.Path)))
	if name == "." || name == ".." || name == string(filepath.Separator) {
		name = f.UID
		if f.Type == task.ArtifactPlan {
			name += ".md"
		}
	}
	return name
}

// saveArtifact writes beside the place and moves the whole file there.
func (a *app) saveArtifact(ctx context.Context, c *client.Client, f client.File, path string, force bool) error {
	if _, err := os.Lstat(path); !force && !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = errors.New("there is a file already; --force overwrites it")
		}
		return usageError{fmt.Errorf("--out: %s: %w", path, err)}
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".oz-download-")
	if err != nil {
		return usageError{fmt.Errorf("--out: %w", err)}
	}
	defer func() { _ = os.Remove(part.Name()) }()
	size := counting{w: part}
	err = errors.Join(c.Download(ctx, f.UID, &size), part.Close())
	if err == nil {
		err = errors.Join(os.Chmod(part.Name(), 0o644), os.Rename(part.Name(), path))
	}
	if err != nil {
		return err
	}
	if a.json() {
		return a.emit(map[string]any{"artifact_uid": f.UID, "path": path, "size_bytes": size.n})
	}
	a.say("Saved %s (%d bytes).", oneLine(path), size.n)
	return nil
}

type counting struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (a *app) artifactVersionsCommand() *cobra.Command {
	return a.filterFlag(&cobra.Command{Use: "versions <UID>", Short: "List the versions of a plan, newest first", Args: oneArg("artifact uid"),
		Example: "  oz artifact versions ARTIFACT_UID --jq '.versions[0].content'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listPath(cmd.Context(), "/oz/artifacts/%s/versions", args[0], listing{member: "versions", none: "No versions.",
				columns: []column{{"VERSION", ".version"}, {"TITLE", ".title"}, {"CREATED", ".created_at"}, {"BYTES", ".content | utf8bytelength"}}})
		}})
}

func (a *app) artifactUploadCommand() *cobra.Command {
	var run, conversation, description string
	cmd := &cobra.Command{Use: "upload <PATH>", Short: "Add a file to a run", Args: oneArg("file"), Hidden: true,
		Long: `Add a file to the artifacts of a run: that of --run-id, or else the one that this
command is part of (OZ_RUN_ID).`,
		Example: "  oz artifact upload report.pdf --run-id RUN_ID --description 'What was measured'",
		RunE: func(cmd *cobra.Command, args []string) error {
			id := cmp.Or(run, conversation, a.currentRun()) // a conversation is called like its run
			switch {
			case run != "" && conversation != "":
				return usageError{errors.New("--run-id and --conversation-id exclude each other")}
			case id == "":
				return usageError{errors.New("--run-id or --conversation-id is needed outside of a run")}
			}
			f, err := os.Open(args[0])
			if err != nil {
				return usageError{err}
			}
			defer func() { _ = f.Close() }()
			return a.upload(cmd.Context(), task.ID(id), f, description)
		}}
	cmd.Flags().StringVar(&run, "run-id", "", "`run` that it belongs to (env OZ_RUN_ID)")
	cmd.Flags().StringVar(&conversation, "conversation-id", "", "`conversation` that it belongs to")
	cmd.Flags().StringVar(&description, "description", "", "what it is")
	return a.filterFlag(cmd)
}

func (a *app) upload(ctx context.Context, id task.ID, f *os.File, description string) error {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return usageError{fmt.Errorf("%s is no file that can be uploaded", f.Name())}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	uid, err := c.AddFile(ctx, id, oz.FileInput{Name: filepath.Base(f.Name()), Description: description, Content: f})
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]string{"artifact_uid": uid})
	if err != nil {
		return err
	}
	return a.showItem(raw, []column{{"Artifact", ".artifact_uid"}})
}
