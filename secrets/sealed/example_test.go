package sealed_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oz-platform/cloudagents/secrets/sealed"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "oz")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	records, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	if err != nil {
		panic(err)
	}
	defer records.Close()
	keys, err := sealed.OpenKeys(filepath.Join(dir, "keys", "secrets.json"))
	if err != nil {
		panic(err)
	}

	store := sealed.New(records, keys, nil)
	created, err := store.Create(ctx, team, sealed.Creation{Name: "NPM_TOKEN", Value: sealed.Raw("npm_aB3dE5fG7hJ9")})
	fmt.Println(created.Name, created.Scope, created.Type, created.Version, err)
	values, err := store.Values(ctx, team)
	fmt.Println(values, err)
	// Output:
	// NPM_TOKEN Team:t1 raw_value 1 <nil>
	// [NPM_TOKEN=(hidden, NPM_TOKEN of Team:t1, version 1)] <nil>
}
