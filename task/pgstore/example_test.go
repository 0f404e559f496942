package pgstore_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/pgstore"
)

// Two replicas share a database: what one stores, the other hears of and reads.
func ExampleOpen() {
	ctx, dsn := context.Background(), os.Getenv("DATABASE_URL")
	one, err := pgstore.Open(ctx, dsn, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer one.Close()
	two, err := pgstore.Open(ctx, dsn, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer two.Close()

	id := task.NewID()
	changed, cancel := two.Subscribe(id)
	defer cancel()
	if _, _, err := one.Create(ctx, task.Creation{ID: id, Spec: task.Spec{Prompt: "Mend the parser."}, Now: time.Now()}); err != nil {
		fmt.Println(err)
		return
	}
	<-changed
	t, err := two.Get(ctx, id)
	fmt.Println(t.State, t.Prompt, err)
}
