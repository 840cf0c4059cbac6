package agent

import (
	"testing"

	"github.com/ata-agent/ata-agent/internal/country"
)

// Each code is that of a country there is.
func TestKeysOfCountries(t *testing.T) {
	for code := range keysOf {
		if _, err := country.Get(code); err != nil {
			t.Error(err)
		}
	}
}
