package oz

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/oz-platform/cloudagents/task"
)

// Layers of a configuration, as Spec.Origins names them.
const (
	layerRun         = "run"
	layerProfile     = "profile"
	layerAgent       = "agent"
	layerEnvironment = "environment"
	layerDefault     = "default"
)

// layer is one source of settings.
type layer struct {
	name   string
	config task.Config
}

// resolve takes each setting from the first layer that has it, and says which
// that was. Settings go by their names on the wire; Limits are taken one by one.
func resolve(layers ...layer) (task.Config, map[string]string) {
	var out task.Config
	origins := map[string]string{}
	for _, l := range layers {
		limits := out.Limits
		takeUnset(reflect.ValueOf(&out).Elem(), reflect.ValueOf(l.config), func(name string) { origins[name] = l.name })
		if limits == nil || l.config.Limits == nil {
			continue
		}
		merged := *limits
		takeUnset(reflect.ValueOf(&merged).Elem(), reflect.ValueOf(*l.config.Limits), func(string) {})
		out.Limits = &merged
	}
	return out, origins
}

// takeUnset fills the zero fields of dst from src, and tells their names.
func takeUnset(dst, src reflect.Value, took func(name string)) {
	for i := range dst.NumField() {
		if !dst.Field(i).IsZero() || src.Field(i).IsZero() {
			continue
		}
		dst.Field(i).Set(src.Field(i))
		name, _, _ := strings.Cut(dst.Type().Field(i).Tag.Get("json"), ",")
		took(name)
	}
}

// cloneConfig copies c, so that the caller keeps what it gave.
func cloneConfig(c task.Config) (task.Config, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return task.Config{}, fmt.Errorf("encode configuration: %w", err)
	}
	var out task.Config
	if err := json.Unmarshal(data, &out); err != nil {
		return task.Config{}, fmt.Errorf("decode configuration: %w", err)
	}
	return out, nil
}

// defaults are the lowest layer: the operator's, over the platform's own.
func (p *Platform) defaults() task.Config {
	idle, limits := defaultIdleMinutes, p.opts.Limits
	builtIn := task.Config{
		ModelID:            p.opts.Models.Default,
		IdleTimeoutMinutes: &idle,
		Harness:            &task.HarnessConfig{Type: harnessBuiltIn},
	}
	if limits != (task.Limits{}) {
		builtIn.Limits = &limits
	}
	c, _ := resolve(layer{layerDefault, p.opts.DefaultConfig}, layer{layerDefault, builtIn})
	return c
}
