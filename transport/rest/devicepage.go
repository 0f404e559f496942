package rest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"

	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
)

//go:embed devicepage.css
var deviceStyle string

//go:embed devicepage.js
var deviceScript string

// GetDevicePage implements GET /oz/auth/device.
func (o operations) GetDevicePage(ctx context.Context, r api.GetDevicePageRequestObject) (api.GetDevicePageResponseObject, error) {
	if _, err := o.signIn(); err != nil {
		return nil, err
	}
	request := callOf(ctx).request
	caller, err := o.session(request)
	if task.CodeOf(err) == task.CodeAuthenticationRequired && err != nil {
		here := o.opts.Prefix + "/oz/auth/device"
		if r.Params.UserCode != "" {
			here += "?" + url.Values{"user_code": {r.Params.UserCode}}.Encode()
		}
		return moveTo{target: o.opts.Prefix + "/oz/auth/login?" + url.Values{"next": {here}}.Encode()}, nil
	}
	if err != nil {
		return nil, err
	}
	return o.devicePage(ctx, caller, r.Params.UserCode)
}

// devicePage shows who asks with a code; without one it asks for it.
func (o operations) devicePage(ctx context.Context, caller access.Caller, code string) (devicePage, error) {
	w := &markupWriter{}
	w.add(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>`+
		`<title>Sign in a command line</title><style>%s</style></head><body><main><h1>Sign in a command line</h1>`, markup(deviceStyle))
	w.add(`<p>You are signed in as <strong>%s</strong>.</p>`, caller.Principal.DisplayName)
	name, err := "", error(nil)
	if code != "" {
		name, err = o.platform.Registry().DeviceName(ctx, caller, code)
	}
	switch {
	case err != nil && !errors.Is(err, access.ErrExpiredToken):
		return "", err
	case err != nil:
		w.add(`<p role="alert">There is no command line with the code %s: it has expired, or was decided on. Start again there.</p>`, code)
		code = ""
	}
	if code == "" {
		w.add(`<form method="get"><label for="code">Code that the command line shows</label>` +
			`<input id="code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false" required="required" maxlength="20"/>` +
			`<button>Go on</button></form></main></body></html>`)
		return devicePage(w.String()), nil
	}
	w.add(`<p><strong>%s</strong> asks to act as you, with the code <code id="code">%s</code>.</p>`+
		`<p>Agree only if you have just started this yourself, and the code is the same there.</p>`+
		`<p><button id="agree" data-approve="%s">Agree</button> <button id="refuse" class="quiet">Refuse</button></p>`+
		`<p id="result" role="status"></p><script>%s</script></main></body></html>`, name, code, o.opts.Prefix+"/oz/auth/device/approve", markup(deviceScript))
	return devicePage(w.String()), nil
}

// devicePage is a page for people.
type devicePage string

// VisitGetDevicePageResponse implements api.GetDevicePageResponseObject.
func (p devicePage) VisitGetDevicePageResponse(w http.ResponseWriter) error {
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src '"+hashOf(deviceStyle)+"'; script-src '"+hashOf(deviceScript)+
		"'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	_, err := w.Write([]byte(p))
	return err
}

// hashOf names a text in a content security policy.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
