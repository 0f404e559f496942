package raw

import (
	"encoding/json"
	"net/http"
)

// CreateHandler answers POST requests with a JSON body: it stores the prompt
// durably as a job and answers with JSON, and does nothing else.
func CreateHandler(enqueue func(payloads ...[]byte) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Prompt string `json:"prompt"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := enqueue([]byte(body.Prompt)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"state": "QUEUED"}) // the client may be gone
	})
}
