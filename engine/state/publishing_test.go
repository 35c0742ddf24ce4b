package state_test

import (
	"net/netip"
	"testing"

	"github.com/swarmd/swarmd/engine/state"
)

func TestPublishingOf(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		labels map[string]string
		want   state.Publishing
		err    string
	}{
		{labels: nil},
		{labels: map[string]string{"com.example": "x"}},
		{labels: map[string]string{state.StickyLabel: "true"}, want: state.Publishing{Sticky: true}},
		{labels: map[string]string{state.StickyLabel: "0"}},
		{labels: map[string]string{state.StickyLabel: "yes"}, err: `label swarmd.publish.sticky: "yes" is neither true nor false`},
		{labels: map[string]string{state.AddressLabel: "127.0.0.1", state.StickyLabel: "1"}, want: state.Publishing{Sticky: true, Address: loopback}},
		{labels: map[string]string{state.AddressLabel: "0.0.0.0"}},
		{labels: map[string]string{state.AddressLabel: "localhost"}, err: `label swarmd.publish.address: "localhost" is no IPv4 address of a host, such as 127.0.0.1`},
		{labels: map[string]string{state.AddressLabel: "::1"}, err: `label swarmd.publish.address: "::1" is no IPv4 address of a host, such as 127.0.0.1`},
	} {
		got, err := state.PublishingOf(c.labels)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%v: %+v, %v", c.labels, got, err)
		}
	}
}
