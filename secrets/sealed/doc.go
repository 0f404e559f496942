// Package sealed keeps secrets encrypted in the platform's own store.
//
//	keys, err := sealed.OpenKeys("/var/lib/oz/keys/secrets.json")
//	if err != nil {
//		return err
//	}
//	store := sealed.New(records, keys, nil) // records: any task.Store
//	_, err = store.Create(ctx, team, sealed.Creation{
//		Name:  "NPM_TOKEN",
//		Value: sealed.Raw(token),
//	})
//
// A [Store] is a [secrets.Provider]: values leave it through Values alone, for a run.
// Everything else answers with a [Secret], which holds no value.
//
// # Encryption
//
// Values are sealed with AES-256-GCM by Tink, one key set for all, kept in a file that
// only the server's user may read. The authenticated data binds each ciphertext to its
// owner, name, type and version, so that who can write the database, but has no key,
// cannot pass one secret off as another, nor an old value as the new one by copying
// ciphertexts. (Putting back a whole old record is beyond what a store can notice.)
// Whoever holds the key file and the database holds the secrets; keep backups of the two
// apart. Without the key file the secrets are lost.
//
// # Rotation
//
// [Keys.Rotate] makes a new primary key; what older keys sealed still opens.
// [Store.Reseal] then seals everything anew.
//
// # Errors
//
// Those of package task: [task.CodeInvalidRequest] for a bad name or value,
// [task.CodeConflict] for a name that exists or a concurrent change,
// [task.CodeNotFound]. A record that does not open is [task.CodeInternal]; the message
// names it and holds nothing of it.
//
// # Concurrency
//
// A Store and Keys are safe for concurrent use, by several processes on one database
// too. A process reads the key file when it starts: rotate, then restart the others.
package sealed
