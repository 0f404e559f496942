package rest

// LocalPath is localPath of a handler below /api/v1.
func LocalPath(next string) (string, error) {
	return (&Handler{opts: Options{Prefix: "/api/v1"}}).localPath(next)
}
