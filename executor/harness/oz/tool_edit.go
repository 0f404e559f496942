package ozagent

import (
	"context"
	"fmt"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

const (
	maxEdits     = 100      // of one call
	maxShownDiff = 48 << 10 // bytes of a diff for display
	maxToldDiff  = 16 << 10 // bytes of a diff for the model
)

type editFilesInput struct {
	Title string `json:"title"`
	Edits []edit `json:"edits"`
}

// editResult is what is shown of a change.
type editResult struct {
	Paths []string `json:"paths"`
	Diff  string   `json:"diff"`
}

func editFilesTool() tool {
	return define(tool{
		name: toolEditFiles, category: task.CategoryFiles, repeatable: true, when: inNormalMode,
		description: "Change parts of existing files by search and replace. Copy the search text exactly from the file, without the line numbers of read_files, with enough lines to be unique. " +
			"Edits of one call are made in order, all or none. The result is the diff.",
		schema: `{"type":"object","properties":{
			"title":{"type":"string","description":"what the change is, in a few words"},
			"edits":{"type":"array","items":{"type":"object","properties":{
				"path":{"type":"string"},
				"search":{"type":"string","description":"text to replace"},
				"replace":{"type":"string","description":"what to put there; empty deletes"},
				"all":{"type":"boolean","description":"replace every occurrence"}},
				"required":["path","search","replace"]}}},
			"required":["edits"]}`,
	}, editFiles)
}

// fileEdit is what becomes of one file.
type fileEdit struct {
	path, rel string
	old, new  string
	edits     []edit
	notes     []string
}

func editFiles(_ context.Context, a *agent, k *toolCall, in editFilesInput) (result, error) {
	if len(in.Edits) == 0 || len(in.Edits) > maxEdits {
		return result{}, badInput("edits must have 1 to %d entries", maxEdits)
	}
	files, err := a.openEdits(in.Edits)
	if err != nil {
		return result{}, err
	}
	for _, f := range files {
		if k.again && f.made() {
			f.notes = append(f.notes, "was changed before the restart")
			continue
		}
		if err := f.apply(); err != nil {
			return result{}, err
		}
	}
	for _, f := range files {
		k.touched = append(k.touched, f.path)
		if f.new == f.old {
			continue
		}
		if err := a.files.write(f.path, f.rel, []byte(f.new)); err != nil {
			return result{}, err
		}
	}
	return editsDone(files), nil
}

// openEdits reads each file once and sorts the edits by file.
func (a *agent) openEdits(edits []edit) ([]*fileEdit, error) {
	var files []*fileEdit
	byRel := map[string]*fileEdit{}
	for i, e := range edits {
		switch {
		case e.Search == "":
			return nil, badInput("edits[%d].search is empty; write_file creates a file", i)
		case e.Replace == nil:
			return nil, badInput("edits[%d].replace is missing", i)
		case e.Search == *e.Replace:
			return nil, badInput("edits[%d].search and replace are the same", i)
		}
		rel, err := a.files.target(e.Path)
		if err != nil {
			return nil, err
		}
		f := byRel[rel]
		if f == nil {
			data, _, err := a.files.read(e.Path, maxTextBytes)
			if err != nil {
				return nil, err
			}
			if isBinary(data) {
				return nil, refuse("%s is a binary file.", e.Path)
			}
			f = &fileEdit{path: e.Path, rel: rel, old: string(data), new: string(data)}
			byRel[rel] = f
			files = append(files, f)
		}
		f.edits = append(f.edits, e)
	}
	return files, nil
}

// made reports that all edits of the file were made by an earlier try. A file
// is written whole, so it is all or none.
func (f *fileEdit) made() bool {
	for _, e := range f.edits {
		if !alreadyMade(f.old, e) {
			return false
		}
	}
	return true
}

func (f *fileEdit) apply() error {
	for i, e := range f.edits {
		out, note, err := applyEdit(f.new, e)
		if err != nil {
			return refuse("%s, edit %d of this file: %v\nNo file was changed.", f.path, i+1, err)
		}
		f.new = out
		if note != "" {
			f.notes = append(f.notes, fmt.Sprintf("edit %d %s", i+1, note))
		}
	}
	return nil
}

func editsDone(files []*fileEdit) result {
	var said, diff strings.Builder
	var paths []string
	for _, f := range files {
		paths = append(paths, f.path)
		fmt.Fprintf(&said, "Changed %s", f.path)
		if len(f.notes) > 0 {
			fmt.Fprintf(&said, " (%s)", strings.Join(f.notes, "; "))
		}
		said.WriteString(".\n")
		diff.WriteString(unifiedDiff(f.path, f.old, f.new))
	}
	text := strings.ToValidUTF8(diff.String(), "\ufffd")
	return resultOK(said.String()+bounded(text, maxToldDiff), editResult{Paths: paths, Diff: bounded(text, maxShownDiff)})
}
