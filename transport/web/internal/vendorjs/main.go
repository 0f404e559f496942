// Command vendorjs keeps the JavaScript libraries of the web app: it copies
// files out of npm packages at pinned versions, checked against the hashes
// that npm gives, into assets/lib. What is there and has the right hash is
// left alone, without a connection.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// source is a package of npm.
type source struct {
	name, version, integrity string
	files                    map[string]string // name in the package to name here
}

var sources = []source{
	{"preact", "11.2.0", "sha512-/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==", map[string]string{
		"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js", "LICENSE": "preact.LICENSE.txt"}},
	{"htm", "3.1.1", "sha512-983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==", map[string]string{
		"dist/htm.mjs": "htm.js", "LICENSE": "htm.LICENSE.txt"}},
	{"marked", "18.2.1", "sha512-ii4bxCTCqqwpT86XZWgJNs+ZnAIZksmLGYMViWA7PDIXYIeNo1x6cDdX3JOip9NM/cI6p8z57FxliACboTruMA==", map[string]string{
		"lib/marked.esm.js": "marked.js", "LICENSE": "marked.LICENSE.txt"}},
	{"@xterm/xterm", "6.0.0", "sha512-TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==", map[string]string{
		"lib/xterm.mjs": "xterm.js", "css/xterm.css": "xterm.css", "LICENSE": "xterm.LICENSE.txt"}},
	{"@xterm/addon-fit", "0.11.0", "sha512-jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==", map[string]string{
		"lib/addon-fit.mjs": "xterm-fit.js", "LICENSE": "xterm-fit.LICENSE.txt"}},
}

// bare are the imports that browsers cannot resolve by themselves.
var bare = strings.NewReplacer(`from"preact"`, `from"./preact.js"`, `from "preact"`, `from "./preact.js"`)

// lockFile says what is there: which sources made which files.
const lockFile = "lib.lock.json"

type lock struct {
	Sources map[string]string `json:"sources"` // name@version to integrity
	Files   map[string]string `json:"files"`   // name to SHA-256
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, filepath.Join("assets", "lib")); err != nil {
		fmt.Fprintln(os.Stderr, "vendorjs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	if fresh(dir) {
		return nil
	}
	l := lock{Sources: map[string]string{}, Files: map[string]string{}}
	for _, s := range sources {
		l.Sources[s.name+"@"+s.version] = s.integrity
		files, err := s.fetch(ctx)
		if err != nil {
			return fmt.Errorf("%s@%s: %w", s.name, s.version, err)
		}
		for name, data := range files {
			l.Files[name] = hash(data)
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, lockFile), append(text, '\n'), 0o644)
}

// fresh reports that dir has what sources say.
func fresh(dir string) bool {
	var l lock
	text, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil || json.Unmarshal(text, &l) != nil || len(l.Sources) != len(sources) {
		return false
	}
	for _, s := range sources {
		if l.Sources[s.name+"@"+s.version] != s.integrity {
			return false
		}
		for _, name := range s.files {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || hash(data) != l.Files[name] {
				return false
			}
		}
	}
	return true
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fetch gives the wanted files of the package, by their names here.
func (s source) fetch(ctx context.Context) (map[string][]byte, error) {
	base := s.name[strings.LastIndexByte(s.name, '/')+1:]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://registry.npmjs.org/%s/-/%s-%s.tgz", s.name, base, s.version), nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the registry answered %s", res.Status)
	}
	packed, err := io.ReadAll(io.LimitReader(res.Body, 32<<20))
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(packed); "sha512-"+base64.StdEncoding.EncodeToString(sum[:]) != s.integrity {
		return nil, errors.New("the package is not the pinned one")
	}
	return s.unpack(packed)
}

func (s source) unpack(packed []byte) (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	got := map[string][]byte{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		_, inside, _ := strings.Cut(h.Name, "/") // the first folder is called in many ways
		name, wanted := s.files[inside]
		if !wanted {
			continue
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(name, ".js") {
			data = []byte(bare.Replace(strip(string(data))))
		}
		got[name] = data
	}
	if len(got) != len(s.files) {
		return nil, fmt.Errorf("%d of %d files are in the package", len(got), len(s.files))
	}
	return got, nil
}

// strip drops the reference to a source map, which is not served.
func strip(code string) string {
	if i := strings.LastIndex(code, "\n//# sourceMappingURL="); i >= 0 {
		return code[:i+1]
	}
	return code
}
