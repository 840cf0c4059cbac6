package board

// A Profile is a device as data.
type Profile struct {
	Name    string // for the configuration: lower case, no spaces
	Model   string // for a person
	Country string // where it was sold, two letters; "" is not known

	// Compatible and Model strings by which the device is known: those of
	// its device tree, of which OpenWrt's board_name is the first. One that
	// ends with "*" matches what begins so.
	Match []string

	Ports    []ProfilePort
	Lamps    []ProfileLamp
	Patterns map[string]string // see Board.Patterns
}

// A ProfilePort is a socket of a device.
type ProfilePort struct {
	Name string // on the case, or in order: "1", "2"
	Kind string // the backend that drives it: "sim", "tapi"
	Rate int    // of a handset's sound, as hal.Handset has it; 0 for a line
}

// A ProfileLamp is a light of a device: an LED of the kernel, a pin, or, with
// neither, one kept in memory.
type ProfileLamp struct {
	Role      string   // "power", "voip", "phone1", "phone2"
	LED       []string // names in /sys/class/leds, the first that is there
	Warning   string   // an LED of a second colour in the same place, for faults
	KeepLit   bool     // stays lit when the agent goes
	GPIO      string   // the kernel's name of the line
	ActiveLow bool
}

// Profiles are the devices known. LED names of OpenWrt's devices are those of
// its device trees (target/linux/lantiq/files/arch/mips/boot/dts/lantiq).
var Profiles = []Profile{
	{
		Name:  "sim",
		Model: "simulated telephone adapter",
		Ports: []ProfilePort{{Name: "1", Kind: "sim"}, {Name: "2", Kind: "sim"}},
		Lamps: []ProfileLamp{{Role: "power"}, {Role: "voip"}, {Role: "phone1"}, {Role: "phone2"}},
	},
	{
		Name:  "sim-handset",
		Model: "simulated IP telephone with a wideband handset",
		Ports: []ProfilePort{{Name: "1", Kind: "sim", Rate: 16000}},
		Lamps: []ProfileLamp{{Role: "power"}, {Role: "voip"}, {Role: "phone1"}},
	},
	{
		// vr9_arcadyan_vgv7510kw22.dtsi. Its "info" lamp is two LEDs in one
		// place, green and red; one telephone lamp for both sockets.
		Name:    "o2-box-6431",
		Model:   "o2 Box 6431 (Arcadyan VGV7510KW22)",
		Country: "de",
		Match:   []string{"arcadyan,vgv7510kw22*", "o2 Box 6431"},
		Ports:   []ProfilePort{{Name: "1", Kind: "tapi"}, {Name: "2", Kind: "tapi"}},
		Lamps: []ProfileLamp{
			{Role: "power", LED: []string{"green:power"}, Warning: "red:power", KeepLit: true},
			{Role: "voip", LED: []string{"green:info"}, Warning: "red:info"},
			{Role: "phone1", LED: []string{"green:telefon", "green:phone"}},
		},
	},
	{
		// vr9_tplink_vr200v.dts, vr9_tplink_vr200.dtsi. It has no lamp for the
		// registration, so the telephone's shows that it is under way.
		Name:  "archer-vr200v",
		Model: "TP-Link Archer VR200v",
		Match: []string{"tplink,vr200v", "TP-LINK Archer VR200v"},
		Ports: []ProfilePort{{Name: "1", Kind: "tapi"}, {Name: "2", Kind: "tapi"}},
		Lamps: []ProfileLamp{
			{Role: "power", LED: []string{"blue:power"}, KeepLit: true},
			{Role: "phone1", LED: []string{"blue:phone"}},
		},
		Patterns: map[string]string{"phone.registering": "100/400"},
	},
	{
		// A Raspberry Pi has no telephone socket; its ports are simulated,
		// its lamps are real. Older kernels call the LEDs led0 and led1.
		Name:  "raspberry-pi",
		Model: "Raspberry Pi with simulated telephones",
		Match: []string{"raspberrypi,*", "Raspberry Pi *"},
		Ports: []ProfilePort{{Name: "1", Kind: "sim"}, {Name: "2", Kind: "sim"}},
		Lamps: []ProfileLamp{
			{Role: "power", LED: []string{"PWR", "led1"}, KeepLit: true},
			{Role: "voip", LED: []string{"ACT", "led0"}},
		},
	},
	{
		// The same with lamps on the header. It is never detected: nobody
		// but its owner knows what is wired to those pins.
		Name:  "raspberry-pi-lamps",
		Model: "Raspberry Pi with simulated telephones and lamps on its header",
		Ports: []ProfilePort{{Name: "1", Kind: "sim"}, {Name: "2", Kind: "sim"}},
		Lamps: []ProfileLamp{
			{Role: "power", LED: []string{"ACT", "led0"}},
			{Role: "voip", GPIO: "GPIO22"},
			{Role: "phone1", GPIO: "GPIO17"},
			{Role: "phone2", GPIO: "GPIO27"},
		},
	},
}
