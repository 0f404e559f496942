package secrets_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/task"
)

// TestValueNeverPrints prints, encodes and logs a value in every way at hand, alone and
// inside of other things, and looks for its plaintext in every form.
func TestValueNeverPrints(t *testing.T) {
	const plaintext = "canary-Zx81-Kq42"
	v := secrets.Value{Name: "TOKEN", Scope: task.Scope{Type: task.ScopeTeam, UID: "t1"}, Version: 3}.With(plaintext)
	r := redactor(t, plaintext)
	assert.Equal(t, v.Plaintext(), plaintext)

	set := secrets.Set{Values: []secrets.Value{v}}
	type private struct {
		v   secrets.Value
		p   *secrets.Value
		set secrets.Set
		any any
	}
	things := []any{v, &v, []secrets.Value{v}, map[string]secrets.Value{"k": v}, set, &set, private{v, &v, set, v}, &private{v, &v, set, &v},
		struct{ secrets.Value }{v}, [1]secrets.Value{v}, fmt.Errorf("wrapped: %v", v), errors.Join(fmt.Errorf("%+v", &v))}
	for _, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "% x", "%+q", "%08.3f", "%t", "%!"} {
			printed := fmt.Sprintf(verb, thing)
			assert.Equal(t, len(r.Contains([]byte(printed))), 0, "%s of %T prints %q", verb, thing, printed)
		}
		encoded, err := json.Marshal(thing)
		assert.NilError(t, err)
		assert.Equal(t, len(r.Contains(encoded)), 0, "JSON of %T: %s", thing, encoded)

		var log bytes.Buffer
		for _, encoder := range []zapcore.Encoder{zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())} {
			zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&log), zapcore.DebugLevel)).Info("m", zap.Any("a", thing), zap.Reflect("r", thing), zap.String("s", fmt.Sprint(thing)))
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "a", thing)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "a", thing)
		assert.Assert(t, log.Len() > 0)
		assert.Equal(t, len(r.Contains(log.Bytes())), 0, "logged: %s", log.String())
	}
	var stream bytes.Buffer
	assert.NilError(t, gob.NewEncoder(&stream).Encode(v))
	assert.Equal(t, len(r.Contains(stream.Bytes())), 0)
	assert.Assert(t, strings.Contains(fmt.Sprint(v), "TOKEN"), "the name is no secret")
}
