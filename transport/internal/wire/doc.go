// Package wire converts between the types of the module and those generated
// from openapi.yaml, both ways, so that server and client agree by
// construction and no generated type shows in an exported signature.
package wire
