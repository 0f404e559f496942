package gitlab

import "encoding/json"

// CheckSettings judges the settings of an integration, as Check does.
func (o *Origin) CheckSettings(settings json.RawMessage) error { return Check(settings) }
