package runner

import (
	"path/filepath"
	"testing"
)

// FuzzDeclarations: whatever stands in the declarations, what comes of them is
// absolute, of a known kind and bounded.
func FuzzDeclarations(f *testing.F) {
	f.Add([]byte(`{"version":1,"kind":"file","path":"/a/../b"}` + "\n" + `{"version":1,"kind":"repo","path":"/b"}`))
	f.Add([]byte("{}\n[]\nnull\n\x00\n{\"version\":1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, notes := parseDeclarations(data)
		if len(notes) > maxNotes {
			t.Fatalf("%d notes", len(notes))
		}
		for _, d := range list {
			if !filepath.IsAbs(d.Path) || d.Path != filepath.Clean(d.Path) || d.Kind != declaresFile && d.Kind != declaresRepo {
				t.Fatalf("%+v", d)
			}
		}
	})
}
