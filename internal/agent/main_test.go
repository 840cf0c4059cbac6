package agent

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing of an agent is left when Run has returned.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
