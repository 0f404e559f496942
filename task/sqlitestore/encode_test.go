package sqlitestore_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
)

// TestEncodersKnowAllFields compares with encoding/json what is encoded without
// it: with every field set, with none, and with one at a time.
func TestEncodersKnowAllFields(t *testing.T) {
	for _, text := range []string{"plain", "<a href=\"x\">\\ \x00 \u2028 é \xff"} {
		eachField(t, text, sqlitestore.EncodeHead)
		eachField(t, text, sqlitestore.EncodeExecution)
	}
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := sqlitestore.EncodeHead(task.Head{UpdatedAt: late})
	assert.ErrorContains(t, err, "year")
	_, err = sqlitestore.EncodeExecution(task.Execution{OfferedAt: late})
	assert.ErrorContains(t, err, "year")
}

func eachField[T any](t *testing.T, text string, encode func(T) ([]byte, error)) {
	t.Helper()
	check := func(v T) {
		t.Helper()
		got, err := encode(v)
		assert.NilError(t, err)
		want, err := json.Marshal(v)
		assert.NilError(t, err)
		var back, wanted T
		assert.NilError(t, json.Unmarshal(got, &back), "%s", got)
		assert.NilError(t, json.Unmarshal(want, &wanted))
		assert.DeepEqual(t, back, wanted)
	}
	var none, every T
	check(none)
	all := reflect.ValueOf(&every).Elem()
	for i := range all.NumField() {
		var one T
		fill(t, text, reflect.ValueOf(&one).Elem().Field(i))
		check(one)
		fill(t, text, all.Field(i))
	}
	check(every)
}

// fill sets a value, and all within it, to something.
func fill(t *testing.T, text string, v reflect.Value) {
	t.Helper()
	if _, ok := v.Interface().(time.Time); ok {
		v.Set(reflect.ValueOf(time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)))
		return
	}
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.SetBytes([]byte(`{"a":1}`))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(0.25)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, text, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, text, v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, text, v.Field(i))
		}
	default:
		t.Fatalf("a field has a new kind of type, %s: teach the test", v.Type())
	}
}

// TestCreateAnswersWithWhatIsStored creates runs with values that encoding/json
// changes on the way, and with plain ones: the answer is what Get gives, and
// shares nothing with the request.
func TestCreateAnswersWithWhatIsStored(t *testing.T) {
	s := open(t, t.TempDir()+"/oz.db", nil)
	var noNames []string
	yes, names := true, []string{"a"}
	for name, spec := range map[string]task.Spec{
		"plain":          {Title: "t", Metadata: map[string]string{"k": "v"}, Origins: map[string]string{"o": "p"}, Fingerprint: []byte{1, 2}, Config: task.Config{ComputerUseEnabled: &yes, Skills: names, Secrets: &names, Harness: &task.HarnessConfig{Type: "oz"}, Limits: &task.Limits{MaxCostUSD: 0.1}}},
		"empty":          {Metadata: map[string]string{}, Fingerprint: []byte{}, Attachments: []task.Attachment{}, Config: task.Config{Skills: []string{}, Secrets: &noNames}},
		"empty list":     {Config: task.Config{Secrets: &[]string{}}},
		"not UTF-8":      {Title: "a\xffb", Metadata: map[string]string{"\xff": "\xfe"}},
		"raw":            {Config: task.Config{MCPServers: map[string]json.RawMessage{"a": json.RawMessage(`{ "b" : 1 }`), "c": nil}, MemoryStores: json.RawMessage(" [] ")}},
		"attachments":    {Attachments: []task.Attachment{{FileName: strings.Repeat("n", 100), SizeBytes: 1 << 40}}},
		"not UTF-8, map": {Config: task.Config{HarnessAuthSecrets: map[string]string{"a": "\xff"}}},
	} {
		got, _, err := s.Create(t.Context(), task.Creation{ID: task.NewID(), Now: time.Now(), Spec: spec})
		assert.NilError(t, err)
		stored, err := s.Get(t.Context(), got.ID)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, stored)
		if name == "plain" {
			spec.Metadata["k"], spec.Fingerprint[0], names[0], yes = "changed", 9, "changed", false
			assert.DeepEqual(t, got, stored)
		}
	}
}

// TestHeadsThatAreHandedOutShareNothing holds for each field of a head, also
// those to come.
func TestHeadsThatAreHandedOutShareNothing(t *testing.T) {
	var h task.Head
	fill(t, "x", reflect.ValueOf(&h).Elem())
	copied := sqlitestore.UnsharedHead(h)
	assert.DeepEqual(t, copied, h)
	checkUnshared(t, "head", reflect.ValueOf(h), reflect.ValueOf(copied))
}

func checkUnshared(t *testing.T, name string, a, b reflect.Value) {
	t.Helper()
	switch a.Kind() {
	case reflect.Slice:
		assert.Assert(t, a.Pointer() != b.Pointer(), "%s is shared", name)
		for i := range a.Len() {
			checkUnshared(t, name, a.Index(i), b.Index(i))
		}
	case reflect.Pointer:
		if a.IsNil() {
			return
		}
		assert.Assert(t, a.Pointer() != b.Pointer(), "%s is shared", name)
		checkUnshared(t, name, a.Elem(), b.Elem())
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range a.NumField() {
			checkUnshared(t, name+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	}
}
