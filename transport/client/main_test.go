package client_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/internal/transporttest"

	"gotest.tools/v3/assert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect returns a client with the admin's key that waits for nothing.
func connect(t testing.TB, url string) *client.Client {
	t.Helper()
	return with(t, url, client.Options{APIKey: transporttest.AdminKey, Clock: transporttest.NewClock()})
}

func with(t testing.TB, url string, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(url, &o)
	assert.NilError(t, err)
	return c
}

// pass lets every request through.
var pass transporttest.Fault

// only applies f to the first request.
func only(f transporttest.Fault) func(int) transporttest.Fault {
	return func(n int) transporttest.Fault {
		if n == 0 {
			return f
		}
		return pass
	}
}

// local is the embedded platform as the admin sees it.
func local(e *transporttest.Env) *oz.Client { return e.Platform.As(e.Caller(transporttest.AdminKey)) }
