package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/oz-platform/cloudagents/transport/web"
)

// The app lives below a path of a service that has pages of its own. Beside it
// the service mounts the API, of which rest.Options.Pages is the app.
func ExampleNew() {
	app, err := web.New(&web.Options{Prefix: "/agents", Title: "Agents of Acme"})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/agents/", app)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/agents/runs", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
