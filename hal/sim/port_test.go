package sim_test

import (
	"testing"

	"github.com/ata-agent/ata-agent/hal/haltest"
	"github.com/ata-agent/ata-agent/hal/sim"
)

func TestPort(t *testing.T) {
	haltest.RunVirtual(t, func(t *testing.T) haltest.Rig {
		p := sim.New("1", sim.Options{})
		return haltest.Rig{Port: p, Hand: p}
	})
}

func TestLamp(t *testing.T) {
	haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
		l := sim.NewLamp("voip")
		return haltest.LampRig{Lamp: l, Lit: l.Lit}
	})
}
