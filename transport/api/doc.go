// Package api is what oapi-codegen makes of openapi.yaml: types, the client
// stub, the strict server interface and its routes, and the document itself.
// Nothing here is written by hand but this file; packages rest and client
// convert to and from the module's own types.
package api

import (
	"bytes"
	_ "embed"
)

//go:generate go tool -modfile=../../internal/tools/go.mod oapi-codegen -config oapi-codegen.yaml -o api.gen.go ../openapi.yaml
//go:generate go run ./internal/tojson ../openapi.yaml openapi.json

//go:embed openapi.json
var document []byte

// OpenAPI gives the contract in JSON. The caller may change its copy.
func OpenAPI() []byte { return bytes.Clone(document) }
