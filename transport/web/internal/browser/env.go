package browser

import (
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/transport/internal/transporttest"
	"github.com/oz-platform/cloudagents/transport/web"
)

// Env is a server with pages, and its callers.
type Env struct {
	*transporttest.Env
}

// Options says how an Env differs from the ordinary one.
type Options struct {
	transporttest.Options
	Web web.Options
}

// Start runs a server with the web app until the test ends. Without chromium
// the test is skipped, or fails with OZ_TEST_REQUIRE=1. opts may be nil.
//
// OZ_WEB_ASSETS names a directory to take the pages from, so that a test binary
// need not be built anew for each change of a page.
func Start(t testing.TB, opts *Options) *Env {
	t.Helper()
	require(t)
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if dir := os.Getenv("OZ_WEB_ASSETS"); dir != "" && o.Web.Assets == nil {
		o.Web.Assets = os.DirFS(dir)
	}
	if o.Platform.MaxAttempts == 0 {
		o.Platform.MaxAttempts = 1 // a run that ends as ERROR stays so
	}
	app, err := web.New(&o.Web)
	assert.NilError(t, err)
	o.Rest.Pages = app
	return &Env{transporttest.Start(t, &o.Options)}
}
