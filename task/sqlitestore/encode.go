package sqlitestore

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// Heads and executions are encoded with each write of a run, on the one
// goroutine that writes, where encoding/json would take a quarter of the time:
// half of that for the times alone.

var (
	headFields      = sync.OnceValue(fieldsOf[task.Head])
	executionFields = sync.OnceValue(fieldsOf[task.Execution])
)

// encodeHead is json.Marshal of a head.
func encodeHead(h task.Head) ([]byte, error) {
	return encodeFields(reflect.ValueOf(&h).Elem(), headFields(), make([]byte, 0, 768))
}

// encodeExecution is json.Marshal of an execution.
func encodeExecution(x task.Execution) ([]byte, error) {
	return encodeFields(reflect.ValueOf(&x).Elem(), executionFields(), make([]byte, 0, 512))
}

// field is a field of a struct with its tag.
type field struct {
	index int
	key   string // "name":
	omit  bool   // when it is empty
}

// fieldsOf reads the tags of a struct, whose fields all have names there.
func fieldsOf[T any]() (out []field) {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		out = append(out, field{i, `"` + name + `":`, strings.Contains(options, "omit")})
	}
	return out
}

func encodeFields(v reflect.Value, fields []field, b []byte) (_ []byte, err error) {
	b = append(b, '{')
	for _, f := range fields {
		value := v.Field(f.index)
		if f.omit && isEmpty(value) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		if b, err = encodeValue(value, append(b, f.key...)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func isEmpty(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func encodeValue(v reflect.Value, b []byte) ([]byte, error) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); isPlain(s) {
			return append(append(append(b, '"'), s...), '"'), nil
		}
	case reflect.Int, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]byte]() && !v.IsNil() {
			return append(base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"'), nil
		}
	case reflect.Struct:
		if at, ok := v.Addr().Interface().(*time.Time); ok {
			b, err := at.AppendText(append(b, '"'))
			return append(b, '"'), err
		}
	}
	data, err := json.Marshal(v.Interface())
	return append(b, data...), err
}

// isPlain reports that a string is the same in JSON.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
