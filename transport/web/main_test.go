package web_test

import (
	"os"
	"testing"

	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

func TestMain(m *testing.M) { os.Exit(browser.Main(m)) }
