package web_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/transport/web/internal/browser"
)

func TestMain(m *testing.M) { browser.Main(m) }
