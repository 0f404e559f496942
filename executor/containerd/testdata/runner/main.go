// Command runner is the smallest program that can be the first process of a
// container, and a client in it.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/oz-platform/cloudagents/executor/containerd/pid1"
)

func main() {
	if code, ok := pid1.Main(); ok {
		os.Exit(code)
	}
	if len(os.Args) == 3 && os.Args[1] == "get" {
		os.Exit(get(os.Args[2]))
	}
	os.Exit(2)
}

// get prints what a web server says. Debian's static busybox crashes when it is to do so in a network of its own.
func get(url string) int {
	c := http.Client{Timeout: 3 * time.Second}
	r, err := c.Get(url)
	if err != nil {
		fmt.Println("unreachable")
		return 1
	}
	defer r.Body.Close()
	_, _ = io.Copy(os.Stdout, r.Body)
	return 0
}
