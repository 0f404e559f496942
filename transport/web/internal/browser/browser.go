// Package browser tests the web app in a real chromium, over a real server:
// platform, store, API and pages in one process, of which only the runner is
// played (see package transporttest).
//
//	e := browser.Start(t, nil)
//	tab := e.Open(t, "/runs", nil)      // signed in as the admin
//	tab.ClickName("New run")            // by what a person reads
//	tab.Wait(`document.querySelector("dialog[open]")`)
//
// A test package has one chromium for all its tests, which Main starts when it
// is first needed and ends. Errors in a page's console, breaches of its content
// security policy and failed requests fail the test that had the page open.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"
)

// Patience is how long anything in a page may take: the machine may be busy.
const Patience = 60 * time.Second

// chrome is the browser that the tests of a package share.
type chrome struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	err    error
}

var shared chrome

// Main is for TestMain: it runs the tests, ends the browser, asks that nothing
// is left, and gives the code to exit with.
func Main(m *testing.M) int {
	code := m.Run()
	shared.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "left over:", err)
			code = 1
		}
	}
	return code
}

// require skips a test without chromium, or fails it where every part must be there.
func require(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		missing(t, "chromium is not installed")
	}
}

// missing skips, or fails with OZ_TEST_REQUIRE=1.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("OZ_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// start gives the context of the running browser.
func (c *chrome) start() (context.Context, error) {
	c.once.Do(func() {
		opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(Patience))
		allocator, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
		ctx, cancelBrowser := chromedp.NewContext(allocator)
		c.ctx, c.cancel = ctx, func() { cancelBrowser(); cancel(); chromedp.FromContext(ctx).Allocator.Wait() }
		c.err = chromedp.Do(ctx)
	})
	return c.ctx, c.err
}

func (c *chrome) stop() {
	if c.cancel == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "end chromium:", err)
	}
	c.cancel()
}
