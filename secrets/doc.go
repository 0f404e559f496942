// Package secrets gives runs their secrets, and keeps them out of everything a run
// puts out.
//
// A [Provider] knows the secrets of teams and people: package sealed keeps them encrypted
// in the platform's store, envsecrets and filesecrets take what the server was started
// with. [Resolve] chooses what one run may have. A [Redactor] then stands in front of
// every sink:
//
//	set, err := secrets.Resolve(ctx, providers, secrets.Request{
//		Owner:  run.Owner,
//		Person: run.StartedBy, // empty for a schedule
//	})
//	if err != nil {
//		return err
//	}
//	redactor := secrets.NewRedactor(nil)
//	if err := set.RedactWith(redactor); err != nil {
//		return err // the run must not start: it would leak
//	}
//	out := redactor.Writer(log)
//	defer out.Close()
//	cmd.Env = append(cmd.Env, set.Environ()...)
//	cmd.Stdout, cmd.Stderr = out, out
//
// # What is redacted
//
// A secret is replaced by [redacted:NAME], whatever its length:
//
//   - as it is, with CRLF for LF, in UTF-16, and with terminal control (ECMA-48: CSI, OSC
//     and the like) anywhere in it, or in such a sequence itself;
//   - in base64, standard and URL alphabet, wherever it lies in the groups of three bytes
//     of a longer text, padded or not, in one line or wrapped into indented ones;
//   - in hexadecimal, either case, plain, wrapped, or with a colon or blank between bytes;
//   - escaped for URLs (%xx, +), JSON, Go, C and JavaScript strings, shells ('...', "...",
//     $'...', backslashes, printf %q), HTML (named and numeric), and with quotes doubled
//     (SQL, YAML, CSV). Two layers of these are undone, such as JSON in JSON;
//   - in part: each line of 8 characters or more; each string in it, if it is JSON, and so
//     on within these; the password, if it is a URL. Parts that CheckValue would refuse,
//     and the BEGIN and END lines of PEM, are not secret by themselves;
//   - cut off at the end of a text, if half or more of it is there.
//
// Redactor does this by decoding the text rather than by encoding the secrets: it reads
// each piece in several views (without terminal control, with escapes decoded, with
// wrapped lines joined), looks in each for the secrets' texts, base64 and hexadecimal,
// and leads what it finds back to the bytes it came from. So it does not matter
// which characters an encoder chose to escape.
//
// # What is not
//
// Redaction prevents accidents. A program that wants to publish a secret it has can: in
// rot13, backwards, compressed, encrypted, or one character a line. Base64 of a secret
// within a longer text may leave up to four bits of its first byte, or three characters
// before a line break. A text whose beginning was cut off in the midst of a secret shows
// the rest, so redact before truncating.
//
// # Errors
//
// What users can mend is a *task.Error with [task.CodeInvalidRequest] that names the
// field, the rule and the remedy. No error holds a value or a part of one.
//
// # Concurrency
//
// Redactor, RedactWriter and Value are safe for concurrent use, and so is every Provider.
//
// # Limits
//
// A value has 8 characters to 128 KiB with its name (CheckValue, CheckSize). A Redactor
// takes 1000 values of 1 MiB together unless told otherwise. A RedactWriter holds back 1 MiB
// at most, and normally nothing once a line is complete. Terminal control of more than 4 KiB
// in a row ends a match; a longer secret is looked for in pieces of 1 KiB.
package secrets
