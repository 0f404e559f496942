package harnesstest

import (
	"os"
	"path/filepath"
	"testing"
)

// Program finds a third party's program in the cache that the tests share:
// OZ_HARNESS_DIR, by default oz-harnesses in the user's cache directory. Without
// it the test is skipped, or fails if OZ_TEST_REQUIRE is set.
func Program(t testing.TB, name, version string) string {
	t.Helper()
	dir := os.Getenv("OZ_HARNESS_DIR")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "oz-harnesses")
	}
	path := filepath.Join(dir, name, version, name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("OZ_TEST_REQUIRE") != "" {
			t.Fatalf("%s %s is not there, and OZ_TEST_REQUIRE is set: run internal/tools/harnesses.sh (%v)", name, version, err)
		}
		t.Skipf("%s %s is not there: run internal/tools/harnesses.sh (%v)", name, version, err)
	}
	return path
}
