package opencode_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"
)

// TestMain is the server of TestInstructionsAndServers, too.
func TestMain(m *testing.M) {
	if name := os.Getenv("OZ_TEST_GREETER"); name != "" {
		if err := greeter(name).Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
