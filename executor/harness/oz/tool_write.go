package ozagent

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// maxWriteBytes bounds one write_file: what a model can say in one answer, and
// far below what one event may hold.
const maxWriteBytes = 1 << 20

type writeFileInput struct {
	Path    string  `json:"path"`
	Content *string `json:"content"`
}

func writeFileTool() tool {
	return define(tool{
		name: toolWriteFile, category: task.CategoryFiles, repeatable: true, when: inNormalMode,
		description: "Create a file, or replace all of it. Missing directories are made. To change a part of a file use edit_files.",
		schema:      `{"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"}},"required":["path","content"]}`,
	}, writeFile)
}

func writeFile(_ context.Context, a *agent, k *toolCall, in writeFileInput) (result, error) {
	switch {
	case in.Content == nil:
		return result{}, badInput("content is missing")
	case len(*in.Content) > maxWriteBytes:
		return result{}, badInput("content has %d bytes, at most %d are possible", len(*in.Content), maxWriteBytes)
	}
	rel, err := a.files.target(in.Path)
	if err != nil {
		return result{}, err
	}
	old, existed := "", false
	if _, err := a.files.root.Lstat(rel); err == nil {
		data, _, err := a.files.read(in.Path, maxReadFileBytes)
		if err != nil {
			return result{}, err
		}
		old, existed = string(data), true
	}
	if err := a.files.write(in.Path, rel, []byte(*in.Content)); err != nil {
		return result{}, err
	}
	k.touched = []string{in.Path}
	lines := len(splitLines(*in.Content))
	said := fmt.Sprintf("Created %s (%d lines).", in.Path, lines)
	if existed {
		said = fmt.Sprintf("Replaced %s (%d lines, before %d).", in.Path, lines, len(splitLines(old)))
	}
	diff := ""
	if !isBinary([]byte(old)) && !strings.Contains(*in.Content, "\x00") {
		diff = bounded(unifiedDiff(in.Path, old, *in.Content), maxShownDiff)
	}
	return resultOK(said, editResult{Paths: []string{in.Path}, Diff: diff}), nil
}
