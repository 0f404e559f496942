package ozagent

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

const (
	maxReadFiles     = 20       // files of one call
	maxReadBytes     = 64 << 10 // of text given back by one call
	maxReadFileBytes = 32 << 20 // of one file; whole outputs of commands may be that long
	maxLineBytes     = 2000     // of one line; longer ones are cut
	sniffBytes       = 8000     // looked at to tell text from other files, as git does
)

type readFilesInput struct {
	Files []struct {
		Path  string `json:"path"`
		Lines string `json:"lines"`
	} `json:"files"`
}

func readFilesTool() tool {
	return define(tool{
		name: "read_files", category: task.CategoryFiles, repeatable: true,
		description: "Read text files, with line numbers. Ask for lines of large files. The numbers and the tab after them are not part of the file.",
		schema: `{"type":"object","properties":{"files":{"type":"array","items":{"type":"object","properties":{
			"path":{"type":"string"},
			"lines":{"type":"string","description":"ranges such as \"1-80\" or \"10-20,300-340\"; default all"}},
			"required":["path"]}}},"required":["files"]}`,
	}, readFiles)
}

func readFiles(_ context.Context, a *agent, k *toolCall, in readFilesInput) (result, error) {
	if len(in.Files) == 0 || len(in.Files) > maxReadFiles {
		return result{}, badInput("files must name 1 to %d files", maxReadFiles)
	}
	var out strings.Builder
	var paths []string
	read := 0
	for _, f := range in.Files {
		ranges, err := parseRanges(f.Lines)
		if err != nil {
			return result{}, err
		}
		paths = append(paths, f.Path)
		data, _, err := a.files.read(f.Path, maxReadFileBytes)
		if err != nil {
			fmt.Fprintf(&out, "== %s\n%v\n", f.Path, err)
			continue
		}
		read++
		k.touched = append(k.touched, f.Path)
		showFile(&out, f.Path, data, ranges, maxReadBytes-out.Len())
	}
	if read == 0 {
		return resultFailed(out.String()), nil
	}
	return resultOK(out.String(), map[string]any{"paths": paths}), nil
}

// lineRange is a range of lines, both ends included, counted from 1.
type lineRange struct{ first, last int }

func parseRanges(text string) ([]lineRange, error) {
	if strings.TrimSpace(text) == "" {
		return []lineRange{{1, 1 << 30}}, nil
	}
	var out []lineRange
	for part := range strings.SplitSeq(text, ",") {
		first, last, both := strings.Cut(strings.TrimSpace(part), "-")
		if !both {
			last = first
		}
		if last == "" {
			last = strconv.Itoa(1 << 30)
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 1 || b < a {
			return nil, badInput("lines %q is not like \"10-40\"", bounded(text, 60))
		}
		out = append(out, lineRange{a, b})
	}
	slices.SortFunc(out, func(a, b lineRange) int { return a.first - b.first })
	return out, nil
}

// isBinary tells by a NUL near the beginning, as git does.
func isBinary(data []byte) bool {
	return bytes.IndexByte(data[:min(len(data), sniffBytes)], 0) >= 0
}

func showFile(out *strings.Builder, path string, data []byte, ranges []lineRange, room int) {
	if isBinary(data) {
		fmt.Fprintf(out, "== %s: binary file, %d bytes, %s\n", path, len(data), http.DetectContentType(data))
		return
	}
	lines := splitLines(string(data))
	fmt.Fprintf(out, "== %s (%d lines)\n", path, len(lines))
	start := out.Len()
	next := 1
	for _, r := range ranges {
		for n := max(r.first, next); n <= min(r.last, len(lines)); n++ {
			if out.Len()-start > room {
				fmt.Fprintf(out, "[cut at line %d: ask for the rest with lines \"%d-%d\"]\n", n, n, r.last)
				return
			}
			text := strings.ToValidUTF8(strings.TrimRight(lines[n-1], "\r\n"), "\ufffd")
			fmt.Fprintf(out, "%6d\t%s\n", n, bounded(text, maxLineBytes))
			next = n + 1
		}
		if r.first > len(lines) {
			fmt.Fprintf(out, "[the file has no line %d]\n", r.first)
		}
	}
}

// splitLines cuts text after each line feed. The last line may lack its own.
func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
