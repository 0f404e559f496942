package fileblob_test

import (
	"testing"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/storetest"
)

func TestBlobConformance(t *testing.T) {
	storetest.RunBlobs(t, func(t *testing.T) task.BlobStore { return open(t, t.TempDir(), nil) })
}
