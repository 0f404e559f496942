package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

// Bounds of the pictures, which every clone of the repository has.
const (
	pictureDir   = "screenshots"
	maxPictures  = 12
	pictureBytes = 150 << 10
)

// shot is one picture of the documentation.
type shot struct {
	name, path string
	view       browser.View
	act        func(*browser.Tab) // what is done before
}

func shots(h *browser.House) []shot {
	desk, dark := browser.View{Width: 1280, Height: 800}, browser.View{Width: 1280, Height: 800, Dark: true}
	phone, night := *browser.Phone(), browser.View{Width: 390, Height: 844, Dark: true}
	run := "/runs/" + string(h.Runs[task.StateSucceeded])
	open := func(tab *browser.Tab) {
		tab.Press("n")
		tab.Wait(`document.activeElement?.tagName === "TEXTAREA"`)
		tab.Press("Find out why the build of branch tax-2027 is red, and mend it.")
	}
	return []shot{
		{"dashboard", "/", desk, nil}, {"runs", "/runs", desk, nil}, {"run", run, desk, nil}, {"run-dark", "/runs/" + string(h.Runs[task.StateBlocked]), dark, nil},
		{"new-run", "/runs", desk, open}, {"schedules", "/schedules", desk, nil}, {"integrations", "/integrations", desk, nil}, {"usage", "/usage", dark, nil},
		{"agents", "/agents", desk, nil}, {"phone-runs", "/runs", night, nil}, {"phone-run", run, phone, nil},
	}
}

// TestScreenshots makes the pictures of the documentation anew: make
// screenshots.
func TestScreenshots(t *testing.T) {
	if os.Getenv("OZ_SCREENSHOTS") != "1" {
		t.Skip("only make screenshots writes them")
	}
	e := browser.Start(t, nil)
	h := e.Furnish(t)
	h.More(t, e)
	there := strings.Join(routes(t), " ") + " "
	assert.NilError(t, os.RemoveAll(pictureDir))
	assert.NilError(t, os.MkdirAll(pictureDir, 0o755))
	for _, s := range shots(h) {
		if route := "/" + strings.Split(s.path, "/")[1]; !strings.Contains(there, route+" ") {
			continue // its page is not there
		}
		tab := e.Open(t, s.path, &s.view)
		if s.act != nil {
			s.act(tab)
		}
		assert.NilError(t, os.WriteFile(filepath.Join(pictureDir, s.name+".png"), tab.Picture(false), 0o644))
	}
}

// TestPicturesAreSmall: the pictures are few and small, and the README shows
// some of them.
func TestPicturesAreSmall(t *testing.T) {
	entries, err := os.ReadDir(pictureDir)
	assert.NilError(t, err)
	assert.Assert(t, len(entries) >= 8 && len(entries) <= maxPictures, "%d pictures", len(entries))
	for _, d := range entries {
		info, err := d.Info()
		assert.NilError(t, err)
		assert.Assert(t, info.Size() <= pictureBytes, "%s has %d bytes", d.Name(), info.Size())
	}
	readme, err := os.ReadFile("../../README.md")
	assert.NilError(t, err)
	shown := 0
	for _, part := range strings.Split(string(readme), "(transport/web/"+pictureDir+"/")[1:] {
		name, _, _ := strings.Cut(part, ")")
		_, err := os.Stat(filepath.Join(pictureDir, name))
		assert.NilError(t, err)
		shown++
	}
	assert.Assert(t, shown > 0)
}
