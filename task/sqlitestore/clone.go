package sqlitestore

import (
	"encoding/json"
	"reflect"
	"unicode/utf8"
)

// clone makes of a value what encoding/json would make of it and back: a copy
// that shares no memory, at a fifth of the cost. done is false when only
// encoding/json can tell, such as for strings that are not UTF-8; out is then to
// be thrown away. All fields of structs must be exported.
func clone(out, in reflect.Value) (done bool) {
	switch in.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		out.Set(in)
		return true
	case reflect.String:
		out.Set(in)
		return utf8.ValidString(in.String())
	case reflect.Struct:
		for i := range in.NumField() {
			if !out.Field(i).CanSet() || !clone(out.Field(i), in.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if in.IsNil() {
			return true
		}
		out.Set(reflect.New(in.Type().Elem()))
		return cloneInner(out.Elem(), in.Elem())
	case reflect.Slice:
		return cloneSlice(out, in)
	case reflect.Map:
		return cloneMap(out, in)
	}
	return false
}

// cloneInner is clone for what is no field of a struct: there, nil becomes
// something else.
func cloneInner(out, in reflect.Value) bool {
	switch in.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if in.IsNil() {
			return false
		}
	}
	return clone(out, in)
}

func cloneSlice(out, in reflect.Value) bool {
	switch {
	case in.IsNil():
		return true
	case in.Len() == 0, in.Type() == reflect.TypeFor[json.RawMessage]():
		return false // what becomes of it depends on the field's tag, and on the text
	}
	out.Set(reflect.MakeSlice(in.Type(), in.Len(), in.Len()))
	if in.Type().Elem().Kind() == reflect.Uint8 {
		reflect.Copy(out, in)
		return true
	}
	for i := range in.Len() {
		if !cloneInner(out.Index(i), in.Index(i)) {
			return false
		}
	}
	return true
}

func cloneMap(out, in reflect.Value) bool {
	switch {
	case in.IsNil():
		return true
	case in.Len() == 0, in.Type().Key().Kind() != reflect.String:
		return false
	}
	out.Set(reflect.MakeMapWithSize(in.Type(), in.Len()))
	for k, v := range in.Seq2() {
		copied := reflect.New(v.Type()).Elem()
		if !utf8.ValidString(k.String()) || !cloneInner(copied, v) {
			return false
		}
		out.SetMapIndex(k, copied)
	}
	return true
}
