package api

import (
	"net/netip"
	"testing"
)

// What a user writes of where a host is reached is an address or an interface, with
// or without a port; only an address that the host has is its own.
func TestResolveAdvertise(t *testing.T) {
	interfaces := []Interface{
		{Name: "lan0", Addresses: []netip.Addr{netip.MustParseAddr("fd00::5"), netip.MustParseAddr("10.0.0.5")}},
		{Name: "lan1", Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.5")}},
	}
	for _, c := range []struct {
		advertise, want string
		local           bool
	}{
		{"10.0.0.5", "10.0.0.5:4444", true},
		{"10.0.0.5:9", "10.0.0.5:9", true},
		{"lan0", "10.0.0.5:4444", true},
		{"lan1:2377", "10.1.0.5:2377", true},
		{"fd00::5", "[fd00::5]:4444", true},
		{"[fd00::5]:9", "[fd00::5]:9", true},
		{"192.0.2.1", "192.0.2.1:4444", false}, // what a router translates, or what the host had
		{"0.0.0.0", "", false},
		{"lan2", "", false},
		{"10.0.0.5:http", "", false},
	} {
		got, local, err := ResolveAdvertise(interfaces, c.advertise, "4444")
		if got != c.want || local != c.local || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, local %v, %v; want %q, local %v", c.advertise, got, local, err, c.want, c.local)
		}
	}
	for listen, want := range map[string]string{"": "0.0.0.0:2377", "lan1": "10.1.0.5:2377", ":9": "0.0.0.0:9", "10.0.0.5": "10.0.0.5:2377", "lan2": ""} {
		if got, err := ResolveListen(interfaces, listen); got != want || (err != nil) != (want == "") {
			t.Errorf("listen %q: %q, %v; want %q", listen, got, err, want)
		}
	}
}
