package pgstore

import (
	"errors"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/task"
)

// parseDSN reads an address. Its errors quote nothing that may be a password.
func parseDSN(dsn string) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, task.Invalid("dsn", "is empty; use postgres://user@host:5432/database")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err == nil {
		return config, nil
	}
	const advice = "is not the address of a PostgreSQL database; use postgres://user@host:5432/database"
	if why := withoutSecrets(dsn); why != "" {
		return nil, task.Invalid("dsn", advice+" (%s)", why)
	}
	return nil, task.Invalid("dsn", advice+", with characters other than letters and digits in the password written as %%XX")
}

// withoutSecrets says what is wrong with a URL, by parsing it again without
// its passwords; "" when that cannot be said without quoting them.
func withoutSecrets(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" && u.Path == "" {
		return ""
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return ""
	}
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	_, err = pgxpool.ParseConfig(u.String())
	if err == nil {
		return ""
	}
	return reason(err)
}

// reason is the innermost error, which does not repeat the address.
func reason(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
