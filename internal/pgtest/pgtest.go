// Package pgtest starts a private PostgreSQL for tests: a cluster of its own in
// a temporary directory, reached by a unix socket alone, with fsync on.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }
//
//	func TestStore(t *testing.T) {
//		dsn := pgtest.DSN(t) // an empty database
//		...
//	}
//
// The shared server starts at the first call of DSN and stops after the tests.
// PostgreSQL refuses to run as root: then it runs as the user postgres, or
// else nobody. It ends with the test's process, whatever that one dies of.
//
// Without an installed PostgreSQL tests are skipped, with the reason; with
// OZ_TEST_REQUIRE=1 in the environment they fail.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Require is the environment variable that makes a missing PostgreSQL a
// failure, when it is 1.
const Require = "OZ_TEST_REQUIRE"

// ErrNotInstalled is what Start fails with when there is no PostgreSQL.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (looked for initdb in /usr/lib/postgresql/*/bin and PATH): apt-get install postgresql")

// shared is the server that the tests of one binary share.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// DSN makes an empty database on the shared server and gives its address.
func DSN(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = Start(context.Background()) })
	must(t, shared.err)
	return shared.server.DSN(t)
}

// New starts a server that belongs to one test, for tests that stop it.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Start(t.Context())
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// must ends a test that has no server: skipped when none is installed.
func must(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrNotInstalled) && os.Getenv(Require) != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// runner is a *testing.M.
type runner interface{ Run() int }

// Main wraps the tests of a binary so that the shared server stops after them.
func Main(m runner) interface{ Run() int } { return &stopping{m} }

type stopping struct{ tests runner }

// Run runs the tests, then stops the server.
func (s *stopping) Run() int {
	code := s.tests.Run()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// superuser is the name of the cluster's owner within PostgreSQL.
const superuser = "oz"

// Server is a PostgreSQL under a test's control.
type Server struct {
	bin     string // where the programs are
	dir     string // everything that the server writes
	owner   *owner // who runs it; nil for ourselves
	process *process
}

// Start makes a cluster and starts it. Close must follow. It fails with
// ErrNotInstalled.
func Start(ctx context.Context) (*Server, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.owner, err = findOwner(); err != nil {
		return nil, err
	}
	// Short, for the path of a socket may have 107 bytes.
	if s.dir, err = os.MkdirTemp("", "ozpg"); err != nil {
		return nil, err
	}
	if err = s.owner.give(s.dir); err == nil {
		err = s.init(ctx)
	}
	if err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// findPrograms gives the directory of the newest PostgreSQL.
func findPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) }) // 9 before 15
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil && len(found) == 0 {
			found = append(found, filepath.Join(dir, "initdb"))
		}
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) init(ctx context.Context) error {
	cmd := s.owner.command(ctx, s.dir, filepath.Join(s.bin, "initdb"), "--pgdata="+s.data(), "--username="+superuser,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// startLimit bounds the wait for a server that starts or stops.
const startLimit = time.Minute

// Start starts a server that was stopped, and waits until it answers.
func (s *Server) Start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	s.process, err = s.owner.start(s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync=on", "-c", "synchronous_commit=on",
		"-c", "logging_collector=off", "-c", "log_min_messages=fatal")
	if err != nil {
		return err
	}
	for {
		conn, err := pgx.Connect(ctx, s.Address("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.process.ended:
			return fmt.Errorf("PostgreSQL ended at its start: %s", s.process.output())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, s.process.output())
		case <-time.After(20 * time.Millisecond): // its socket cannot be waited for
		}
	}
}

// Stop ends the server at once, as a crash does: what was committed is there
// after the next Start.
func (s *Server) Stop() error {
	if s.process == nil {
		return nil
	}
	err := s.process.stop(startLimit)
	s.process = nil
	return err
}

// Close stops the server and removes all it wrote.
func (s *Server) Close() error { return errors.Join(s.Stop(), os.RemoveAll(s.dir)) }

// Address is the URL of a database on the server.
func (s *Server) Address(database string) string {
	query := url.Values{"host": {s.dir}, "user": {superuser}}
	return "postgres:///" + url.PathEscape(database) + "?" + query.Encode()
}

// DSN makes an empty database, which is dropped after the test, and gives its
// address.
func (s *Server) DSN(t testing.TB) string {
	t.Helper()
	name := "t" + rand.Text()
	s.exec(t, t.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	t.Cleanup(func() {
		if s.process != nil { // else a test of its own stopped the server
			s.exec(t, context.Background(), "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		}
	})
	return s.Address(name)
}

func (s *Server) exec(t testing.TB, ctx context.Context, text string) {
	t.Helper()
	conn, err := pgx.Connect(ctx, s.Address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(ctx, text)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}
